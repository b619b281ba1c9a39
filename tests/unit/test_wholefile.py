"""A file is there whole, or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from chronos.errors import Conflict, Invalid, StorageFull
from chronos.wholefile import WholeFile


class Taken(Conflict):
    """It is there already."""


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_has_its_name_when_all_of_it_is_written(tmp_path: Path) -> None:
    path, seen = tmp_path / "a", list[str]()
    with WholeFile(path, Taken).opened(lambda: seen.extend(left_in(tmp_path))) as write:
        write(b"one ")
        write(b"two")
    assert seen == [".a.part"]
    assert (path.read_bytes(), left_in(tmp_path)) == (b"one two", ["a"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_goes_wrong_on_the_way_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def breaks_off() -> None:
        with WholeFile(path, Taken, replace=True).opened() as write:
            write(b"new")
            raise OSError("elsewhere")

    with pytest.raises(OSError, match="elsewhere"):
        breaks_off()
    assert (path.read_bytes(), left_in(tmp_path)) == (b"old", ["a"])


def test_what_is_there_is_replaced_only_when_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(Taken, match="--replace"):
        WholeFile(path, Taken).check()
    with pytest.raises(Taken, match="--replace"), WholeFile(path, Taken).opened() as write:
        write(b"new")
    assert (path.read_bytes(), left_in(tmp_path)) == (b"old", ["a"])
    with WholeFile(path, Taken, replace=True).opened() as write:
        write(b"new")
    assert path.read_bytes() == b"new"


def test_two_do_not_write_one_file_and_what_a_dead_one_left_goes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    (tmp_path / ".a.part").write_bytes(b"left by somebody who was killed")
    with WholeFile(path, Taken).opened() as write:
        write(b"first")
        with pytest.raises(Taken, match="else is writing"), WholeFile(path, Taken).opened():
            pass
    assert path.read_bytes() == b"first"


@pytest.mark.parametrize("name", ["none/a", "."])
def test_a_name_that_cannot_be_had_is_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="a folder that exists"):
        WholeFile(tmp_path / name, Taken).check()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_disk_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, full = tmp_path / "a", os.open("/dev/full", os.O_WRONLY)
    real = os.write
    monkeypatch.setattr(os, "write", lambda _, data: real(full, data))
    with pytest.raises(StorageFull, match="no space left"), WholeFile(path, Taken).opened() as write:
        write(b"new")
    os.close(full)
    assert left_in(tmp_path) == []
