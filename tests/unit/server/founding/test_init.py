"""`chronos cluster init`, `renew` and `show`, and what a node makes of it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chronos.cli.server import main
from chronos.cluster.certificates import read_certificate
from chronos.cluster.peers.roster import Identity
from chronos.cluster.peers.tls import Credentials
from chronos.errors import ConfigInvalid
from chronos.features.access import service
from chronos.features.access.service import PEPPER
from chronos.server import manifest
from chronos.server.clustered import Clustered, clustered
from chronos.server.config import load
from chronos.server.founding.folders import certificates, renew
from chronos.server.founding.keys import ADMIN_FILE, SHARED, plant_keys
from chronos.server.workplace import KEYS
from chronos.timing.clock import SystemChance, SystemClock

NODES = ("--node", "n1=127.0.0.1", "--node", "n2=127.0.0.1", "--node", "n3=cron3.example.org")


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["cluster", *words])


def founded(out: Path, *more: str) -> dict[str, Any]:
    done = run("init", "--name", "prod", *NODES, "--out", str(out), "-o", "json", *more)
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.output)
    return told


def placed(out: Path, node: str) -> Clustered:
    config = load(out / node / "chronos.yaml", environ={}, flags={}, feature_types=manifest.sections())
    assert config.notes == []
    found = clustered(config)
    assert found is not None
    return found


class Later:
    """A clock that is some days ahead."""

    def __init__(self, days: float) -> None:
        self._ahead_s = days * 86_400

    def time(self) -> float:
        return SystemClock().time() + self._ahead_s

    def boottime(self) -> float:
        return SystemClock().boottime()


def test_every_node_gets_a_folder_that_a_server_starts_with(tmp_path: Path) -> None:
    told = founded(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca", "n1", "n2", "n3"]
    for name in ("n1", "n2", "n3"):
        node = placed(tmp_path, name)
        assert (node.node, node.uuid, node.name) == (name, told["uuid"], "prod")
        assert sorted(node.members) == ["n1", "n2", "n3"]
        assert node.own.peer == node.members[name].peer
        Credentials(node.tls, Identity(node.uuid, name), SystemClock())  # raises when they do not fit
    assert str(placed(tmp_path, "n2").listen) == "127.0.0.1:7453"
    assert str(placed(tmp_path, "n3").listen) == "0.0.0.0:7443"


def test_check_accepts_what_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CHRONOS_")]:
        monkeypatch.delenv(name)
    founded(tmp_path)
    done = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "n1" / "chronos.yaml")])
    assert (done.exit_code, done.output) == (0, "the configuration is valid\n")


def test_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    founded(tmp_path)
    secret = [tmp_path / "ca" / "ca.key", *tmp_path.glob("*/node.key"), *tmp_path.glob("*/keys/*")]
    assert len(secret) == 1 + 3 + 4 * (len(SHARED) + 1)
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o700}
    assert not (tmp_path / "n1" / "ca.key").exists()


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    founded(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    done = run("init", "--name", "prod", "--node", "n3=10.0.0.3", "--out", str(tmp_path))

    assert done.exit_code == 5
    assert "is there already" in done.output
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "words",
    [
        ("--name", "a b", "--node", "n1=h"),
        ("--name", "prod", "--node", "n1=no host"),
        ("--name", "prod"),
        ("--name", "prod", "--node", "n1=h", "--data-dir", 'a"b'),
        ("--name", "prod", "--node", "n1=h", "--out", "/no/such/folder"),
    ],
)
def test_a_wrong_word_is_exit_code_2_and_leaves_nothing(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("init", *words).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_all_nodes_have_the_same_keys_and_a_first_start_takes_them(tmp_path: Path) -> None:
    founded(tmp_path)
    for name in ("n1", "n2"):
        keys = placed(tmp_path, name).keys
        assert keys is not None
        data = tmp_path / f"data-{name}"
        data.mkdir()
        assert plant_keys(keys, data) == [*SHARED, "admin.key"]
        assert plant_keys(keys, data) == []
    texts = [(tmp_path / f"data-{name}" / "admin.key").read_text() for name in ("n1", "n2")]
    assert texts[0] == texts[1]
    assert texts[0].startswith("chr_")


def test_the_keys_are_those_that_a_node_would_make_for_itself() -> None:
    assert {*KEYS, "cursors", PEPPER} == set(SHARED)
    assert service.ADMIN_FILE == ADMIN_FILE


def test_a_data_folder_with_keys_of_its_own_is_not_given_others(tmp_path: Path) -> None:
    founded(tmp_path)
    data = tmp_path / "data"
    (data / "keys").mkdir(parents=True)
    (data / "keys" / "credentials").write_text("another")
    with pytest.raises(ConfigInvalid, match="differ"):
        plant_keys(tmp_path / "n1" / "keys", data)


def test_a_server_that_becomes_a_cluster_keeps_its_keys(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "keys").mkdir(parents=True)
    (data / "keys" / "credentials").write_text("mine")
    (data / "admin.key").write_text("chr_live_mine\n")
    founded(tmp_path, "--keys-from", str(data))
    assert (tmp_path / "n2" / "keys" / "credentials").read_text() == "mine"
    assert (tmp_path / "n2" / "keys" / "admin.key").read_text() == "chr_live_mine\n"
    assert "credentials" not in plant_keys(tmp_path / "n1" / "keys", data)
    assert run("init", "--name", "x", "--node", "a=h", "--out", str(data), "--keys-from", "no").exit_code == 4


def test_a_certificate_is_renewed_in_place_and_keeps_its_key(tmp_path: Path) -> None:
    founded(tmp_path)
    before = {name: read_certificate(tmp_path / name / "node.crt") for name in ("n1", "n2")}
    key = (tmp_path / "n1" / "node.key").read_bytes()

    [fresh] = renew(tmp_path, ["n1"], Later(200), SystemChance())

    after = {name: read_certificate(tmp_path / name / "node.crt") for name in ("n1", "n2")}
    assert fresh.fingerprint == after["n1"].fingerprint != before["n1"].fingerprint
    assert after["n1"].not_after > before["n1"].not_after
    assert after["n2"] == before["n2"]
    assert (tmp_path / "n1" / "node.key").read_bytes() == key
    node = placed(tmp_path, "n1")
    Credentials(node.tls, Identity(node.uuid, "n1"), SystemClock())


def test_renewing_what_is_not_there_is_said_and_changes_nothing(tmp_path: Path) -> None:
    assert run("renew", "--out", str(tmp_path)).exit_code == 4
    founded(tmp_path)
    before = read_certificate(tmp_path / "n1" / "node.crt")
    done = run("renew", "n1", "n9", "--out", str(tmp_path))
    assert done.exit_code == 4
    assert "`n9` is no node" in done.output
    assert read_certificate(tmp_path / "n1" / "node.crt") == before
    assert run("renew", "--out", str(tmp_path)).exit_code == 0


def test_show_names_every_certificate_and_how_long_it_lasts(tmp_path: Path) -> None:
    founded(tmp_path)
    done = run("show", "--out", str(tmp_path), "-o", "json")
    assert done.exit_code == 0
    shown = json.loads(done.output)["certificates"]
    assert [each["node"] for each in shown] == ["", "n1", "n2", "n3"]
    assert [each["days_left"] > 360 for each in shown] == [True] * 4
    assert [
        each["node"]
        for each in json.loads(run("show", "--out", str(tmp_path / "n2"), "-o", "json").output)["certificates"]
    ] == ["", "n2"]
    assert run("show", "--out", str(tmp_path / "n1" / "keys")).exit_code == 4


def test_show_tells_of_what_is_about_to_expire_or_has(tmp_path: Path) -> None:
    founded(tmp_path)
    days = [each.days_left for each in certificates(tmp_path, Later(350))]
    assert days[0] > 3_000
    assert all(0 <= each < 30 for each in days[1:])
    assert all(each.days_left < 0 for each in certificates(tmp_path, Later(400))[1:])


def test_show_ends_with_1_when_one_expires_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    founded(tmp_path)
    monkeypatch.setattr("chronos.timing.clock.SystemClock", lambda: Later(350))
    done = run("show", "--out", str(tmp_path))
    assert done.exit_code == 1
    assert "renew it" in done.output
