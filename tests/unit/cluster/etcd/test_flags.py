"""How etcd is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.cluster.etcd.samples import UUID, a_member

from chronos.cluster.etcd.flags import arguments, check_settings, environment
from chronos.cluster.etcd.timing import engine_timing
from chronos.cluster.etcd.versions import Version
from chronos.errors import ConfigInvalid

KNOWN = {path.stem: set(path.read_text().split()) for path in Path(__file__).with_name("known_flags").glob("*.txt")}
HERE = Path("/data")


def version(text: str) -> Version:
    major, minor, patch = map(int, text.split("."))
    return Version(major, minor, patch)


def flags(text: str = "3.6.16", **changes: object) -> dict[str, str]:
    needed, optional = arguments(a_member(HERE, **changes), version(text))
    pairs = [flag.partition("=") for flag in [*needed, *optional]]
    assert len({name for name, _, _ in pairs}) == len(pairs), "etcd takes the last one without a word"
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize("release", sorted(KNOWN))
def test_a_release_gets_only_flags_that_it_knows(release: str) -> None:
    assert set(flags(release)) - KNOWN[release] == set()
    assert set(flags(release, is_address_checked=False)) - KNOWN[release] == set()


@pytest.mark.parametrize("release", sorted(KNOWN))
def test_every_release_looks_for_damage_before_it_serves(release: str) -> None:
    given = flags(release)
    assert given.get("--experimental-initial-corrupt-check") == "true" or "InitialCorruptCheck=true" in given.get(
        "--feature-gates", ""
    )


def test_a_member_says_who_it_is_and_whom_it_meets() -> None:
    given = flags()
    assert given["--name"] == "n1"
    assert given["--data-dir"] == f"/data/engine/{UUID}"
    assert given["--listen-peer-urls"] == given["--initial-advertise-peer-urls"] == "https://10.0.0.1:2380"
    assert given["--initial-cluster"] == "n1=https://10.0.0.1:2380,n2=https://10.0.0.2:2380,n3=https://10.0.0.3:2380"
    assert given["--initial-cluster-token"] == UUID


def test_peers_show_certificates_and_clients_come_through_a_file() -> None:
    given = flags()
    assert given["--peer-client-cert-auth"] == "true"
    assert given["--peer-trusted-ca-file"] == "/c/ca.pem"
    assert given["--listen-client-urls"] == given["--advertise-client-urls"] == "unix://client:0"


def test_those_who_begin_together_are_new_and_who_joins_is_not() -> None:
    assert flags()["--initial-cluster-state"] == "new"
    assert flags(is_joining=True)["--initial-cluster-state"] == "existing"


def test_the_timers_are_those_of_the_cluster() -> None:
    given = flags(timing=engine_timing(2))
    assert (given["--election-timeout"], given["--heartbeat-interval"]) == ("2000", "200")


@pytest.mark.parametrize(
    ("listen", "bound"),
    [
        ("node-1.example", "https://0.0.0.0:2380"),
        ("localhost", "https://127.0.0.1:2380"),
        ("fd00::1", "https://[fd00::1]:2380"),
    ],
)
def test_a_name_is_no_address_to_listen_on(listen: str, bound: str) -> None:
    assert flags(listen=(listen, 2380))["--listen-peer-urls"] == bound


def test_nothing_of_a_shell_reaches_the_engine() -> None:
    given = environment({"PATH": "/bin", "HOME": "/root", "ETCD_NAME": "other", "CHRONOS_API_KEY": "k", "GODEBUG": "x"})
    assert given == {
        "PATH": "/bin", "HOME": "/root", "GOMEMLIMIT": "512MiB", "GOGC": "50", "GOTRACEBACK": "single"
    }  # fmt: skip


def test_without_certificates_nobody_listens_beyond_this_machine() -> None:
    with pytest.raises(ConfigInvalid, match="need certificates"):
        check_settings(a_member(HERE, tls=None))
    loopback = {"n1": ("127.0.0.1", 1), "n2": ("::1", 2), "n3": ("localhost", 3)}
    with pytest.raises(ConfigInvalid, match=r"0\.0\.0\.0"):
        check_settings(a_member(HERE, tls=None, members=loopback, listen=("0.0.0.0", 1)))
    check_settings(a_member(HERE, tls=None, members=loopback, listen=("127.0.0.1", 1)))


def test_who_is_no_member_starts_no_engine() -> None:
    with pytest.raises(ConfigInvalid, match="`n9` is none of the cluster's members: n1, n2, n3"):
        check_settings(a_member(HERE, node="n9"))
