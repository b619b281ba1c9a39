"""Which etcd is taken, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos.cluster.etcd.binary import Engine, find, identify, known_flags, missing, os_release
from chronos.cluster.etcd.failures import EngineUnusable
from chronos.cluster.etcd.versions import Version

NOWHERE = Path("/nowhere/etcd")


def a_program(path: Path, script: str = 'echo "etcd Version: 3.6.16"') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return path


def test_what_is_configured_comes_before_what_came_along_and_that_before_the_path(tmp_path: Path) -> None:
    configured, named, bundled, installed = (a_program(tmp_path / name / "etcd") for name in "abcd")
    path = {"PATH": str(installed.parent)}
    assert find(configured, path | {"CHRONOS_ETCD": str(named)}, bundled) == configured
    assert find(None, path | {"CHRONOS_ETCD": str(named)}, bundled) == named
    assert find(None, path, bundled) == bundled
    assert find(None, path, NOWHERE) == installed


def test_what_is_configured_and_missing_is_an_error_and_not_replaced_by_another(tmp_path: Path) -> None:
    installed = a_program(tmp_path / "etcd")
    with pytest.raises(EngineUnusable, match=r"`cluster\.engine_binary`: there is no program at /nowhere/etcd"):
        find(NOWHERE, {"PATH": str(tmp_path)}, NOWHERE)
    installed.chmod(0o600)
    with pytest.raises(EngineUnusable, match="CHRONOS_ETCD: there is no program"):
        find(None, {"CHRONOS_ETCD": str(installed)}, NOWHERE)


def test_without_any_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(EngineUnusable, match=r"none on this machine.*cluster\.engine_binary.*etcd://host:2379"):
        find(None, {"PATH": str(tmp_path)}, NOWHERE)


@pytest.mark.parametrize(
    ("system", "command"),
    [
        ({"ID": "debian"}, "`sudo apt-get install -y etcd-server`"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "`sudo apt-get install -y etcd-server`"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "`sudo dnf install -y etcd`"),
        ({"ID": "alpine"}, "`sudo apk add etcd`"),
        ({"ID": "plan9"}, "the package `etcd` of this system"),
        ({}, "the package `etcd` of this system"),
    ],
)
def test_the_command_is_that_of_this_system(
    system: dict[str, str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert command in missing(system, is_root=False)
    assert "sudo" not in missing(system, is_root=True)


def test_a_mac_installs_it_with_homebrew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert "`brew install etcd`" in missing({}, is_root=False)


def test_the_system_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text('# what\nNAME="Some Linux"\nID=some\nID_LIKE="debian other"\n\n')
    assert os_release(tmp_path / "os-release")["ID_LIKE"] == "debian other"
    assert os_release(tmp_path / "none") == {}


@pytest.mark.asyncio
async def test_a_program_is_asked_for_its_version(tmp_path: Path) -> None:
    program = a_program(tmp_path / "etcd")
    assert await identify(program) == Engine(program, Version(3, 6, 16))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo hello", "is no etcd"),
        ("exit 1", "is no etcd"),
        ("echo 'etcd Version: 3.5.1'", "3.5.3 mended that"),
        ("echo 'etcd Version: 3.3.9'", "older than 3.4.0"),
    ],
)
async def test_what_no_cluster_may_run_on_is_refused(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(EngineUnusable, match=words):
        await identify(a_program(tmp_path / "etcd", script))


@pytest.mark.asyncio
async def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "etcd"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o700)
    with pytest.raises(EngineUnusable, match="cannot be run"):
        await identify(broken)


PICKY = """
for flag in "$@"; do
  case $flag in
  --new=*|--newer=*) echo "flag provided but not defined: -$(echo "$flag" | sed 's/^--//; s/=.*//')" >&2; exit 2;;
  esac
done
"""


@pytest.mark.asyncio
async def test_an_optional_flag_that_the_engine_does_not_know_is_left_out(tmp_path: Path) -> None:
    engine = Engine(a_program(tmp_path / "etcd", PICKY), Version(3, 5, 3))
    flags = await known_flags(engine, ["--name=n1"], ["--new=1", "--old=1", "--newer=1"])
    assert flags == ["--name=n1", "--old=1"]


@pytest.mark.asyncio
async def test_a_needed_flag_that_the_engine_does_not_know_is_an_error(tmp_path: Path) -> None:
    engine = Engine(a_program(tmp_path / "etcd", PICKY), Version(3, 5, 3))
    with pytest.raises(EngineUnusable, match="refuses its flags: flag provided but not defined: -new"):
        await known_flags(engine, ["--new=1"], ["--newer=1"])
