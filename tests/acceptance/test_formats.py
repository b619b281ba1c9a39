"""A data folder of a newer release: refused with words, an exit code of its own, and nothing changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from tests.fixtures.store_data import unpack

NEWER = "99.1.0"
COMMAND_S = 60.0


def chronos(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chronos.cli.server", *arguments],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    unpack("release-0.1.0", tmp_path / "data")
    return tmp_path / "data"


def newer_marker(data: Path) -> None:
    (data / "FORMAT").write_text(json.dumps({"format": 7, "needs": NEWER}))


def newer_database(name: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        db = apsw.Connection(str(data / name))
        db.execute("INSERT OR REPLACE INTO meta VALUES ('format', 7), ('needs', ?)", (NEWER,))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()

    return change


def newer_key(data: Path) -> None:
    (data / "keys" / "credentials").write_text(f"chronos-key/7/{NEWER}:xyz")


def newer_manifest(data: Path) -> None:
    (data / "history" / "manifest.json").write_text(json.dumps({"format": 7, "needs": NEWER}))


FAKED: list[tuple[str, Callable[[Path], None]]] = [
    ("data", newer_marker),
    ("log.db", newer_database("log/log.db")),
    ("state.db", newer_database("state.db")),
    ("000001.db", newer_database("history/000001.db")),
    ("manifest.json", newer_manifest),
    ("credentials", newer_key),
]


def without_openings(data: Path) -> dict[str, Any]:
    """Return what the files hold, whatever SQLite keeps beside them."""
    found: dict[str, Any] = {}
    for path in sorted(data.rglob("*")):
        if path.suffix == ".db":
            db = apsw.Connection(str(path))
            found[path.name] = list(db.execute("SELECT * FROM meta ORDER BY key"))
            db.close()
        elif path.is_file() and path.suffix not in {".db-wal", ".db-shm"} and path.name not in {"LOCK", "ballast"}:
            found[path.name] = path.read_bytes()
    return found


@pytest.mark.parametrize(("name", "fake"), FAKED)
def test_the_server_refuses_it_by_name_and_leaves_it_as_it_is(
    data: Path, name: str, fake: Callable[[Path], None]
) -> None:
    fake(data)
    before = without_openings(data)
    ended = chronos("server", "--data-dir", str(data), "--http-address", "127.0.0.1:0")

    assert ended.returncode == 65
    [said] = [line for line in ended.stderr.splitlines() if line.startswith("chronos: ")]
    assert name in said
    assert "format 7" in said
    assert f"release {NEWER} or newer" in said
    after = without_openings(data)
    assert {name: after.get(name) for name in before} == before  # a key that was not there may have been drawn


@pytest.mark.parametrize(("name", "fake"), FAKED)
def test_the_doctor_names_it(data: Path, name: str, fake: Callable[[Path], None]) -> None:
    assert chronos("doctor", "--data-dir", str(data)).returncode == 0
    fake(data)
    ended = chronos("doctor", "--data-dir", str(data), "-o", "json")

    assert ended.returncode == 1
    [found] = [one for one in json.loads(ended.stdout)["files"] if one["refused"]]
    assert name in found["refused"]
    assert (found["format"], found["needs"]) == (7, NEWER)


def test_a_command_in_the_log_that_only_a_newer_release_knows_is_refused(data: Path) -> None:
    from chronos.cluster.logfile import LogFile

    log = LogFile(data / "log" / "log.db", 1 << 30)
    log.open()
    index = log.bounds()[1] + 1
    log.append(index, msgspec.msgpack.encode([1, 4_000_000_000_000_000, b"", [[120, "new"]]]), 1)
    log.close()
    ended = chronos("server", "--data-dir", str(data), "--http-address", "127.0.0.1:0")

    assert ended.returncode == 65
    assert "a newer one wrote it" in ended.stderr


def test_the_doctor_of_no_folder_says_so(tmp_path: Path) -> None:
    ended = chronos("doctor", "--data-dir", str(tmp_path / "nowhere"))

    assert ended.returncode == 2
    assert "is not a data folder" in ended.stderr


def test_recovering_a_newer_folder_is_refused(data: Path) -> None:
    newer_marker(data)
    ended = chronos("recover", "--data-dir", str(data), "--rebuild-state")

    assert ended.returncode == 65
    assert NEWER in ended.stderr
    assert (data / "state.db").exists()
