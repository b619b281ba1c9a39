"""What is kept of answers, on this node."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from chronos.server import bodies as module
from chronos.server.bodies import Bodies

ID = "occ_01lg2204cekacf4sm3bbfsobshn2c7qq"


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    bodies = Bodies(tmp_path)

    assert bodies.keep(ID, 2, b"hello") == f"{ID}/2"
    assert bodies.read(ID, 2) == b"hello"
    assert bodies.read(ID, 1) is None


def test_more_than_64_kib_is_cut(tmp_path: Path) -> None:
    bodies = Bodies(tmp_path)
    bodies.keep(ID, 1, b"a" * 100_000)

    assert len(bodies.read(ID, 1) or b"") == 64 * 1024


@pytest.mark.parametrize("key", ["../../etc/passwd", "occ_/../x", "", "OCC_1", "a/b"])
def test_no_id_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    assert Bodies(tmp_path).read(key, 1) is None


def test_files_are_private(tmp_path: Path) -> None:
    Bodies(tmp_path).keep(ID, 1, b"x")
    (path,) = tmp_path.glob("*/*")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_written_costs_the_body_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert Bodies(tmp_path / "file").keep(ID, 1, b"x") == ""


def test_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILES_MAX", 2)
    bodies = Bodies(tmp_path)
    for n in range(5):
        bodies.keep(f"occ_{n}", 1, b"x")

    assert bodies.sweep() == 3
    assert [bodies.read(f"occ_{n}", 1) for n in range(5)] == [None, None, None, b"x", b"x"]
