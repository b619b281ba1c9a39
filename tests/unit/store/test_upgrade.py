"""Upgrading a data folder: in order, all of it or the rest later, and never over a newer one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from chronos.errors import FormatUnreadable, StateDamaged
from chronos.model.formats import FOLDER, MARKER, FileFormat, Marker, read_marker
from chronos.store.datafolder import DataFolder, DataFolderSettings
from chronos.store.upgrade import STEPS, Step, bring_up, change_database, replace_file

BARE = DataFolderSettings(ballast_bytes=0)
THIRD = FileFormat("the data folder", current=3, oldest=1, since="0.1.0")
SECOND_STATE = FileFormat("state", current=2, oldest=1, since="0.1.0")


class Crash(BaseException):
    """The power goes out."""


class Cuts:
    """Cuts the power at the n-th place it could be cut at."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self) -> None:
        if self._left == 0:
            raise Crash
        self._left -= 1


def fill(folder: Path) -> None:
    """Lay out what the planted steps change."""
    db = apsw.Connection(str(folder / "state.db"))
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID")
    db.execute("INSERT INTO meta VALUES ('format', 1), ('needs', '0.1.0')")
    db.execute("CREATE TABLE jobs (name TEXT)")
    db.execute("INSERT INTO jobs VALUES ('nightly')")
    db.close()
    (folder / "notes.txt").write_text("one")


def planted(cut: Callable[[], None]) -> tuple[Step, ...]:
    """Return two steps: one that changes a database, one that changes a file that cannot say its format."""

    def louder(folder: Path) -> None:
        cut()
        change_database(folder / "state.db", SECOND_STATE, shout)
        cut()

    def shout(db: apsw.Connection) -> None:
        db.execute("UPDATE jobs SET name = name || '!'")
        cut()

    def longer(folder: Path) -> None:
        cut()
        text = (folder / "notes.txt").read_text()
        if not text.endswith(" two"):
            replace_file(folder / "notes.txt", f"{text} two".encode())
        cut()

    return Step(2, "0.1.0", "names are louder", louder), Step(3, "0.1.0", "notes are longer", longer)


def contents(folder: Path) -> tuple[list[str], int, str, Marker | None]:
    db = apsw.Connection(str(folder / "state.db"))
    names = [str(name) for (name,) in db.execute("SELECT name FROM jobs")]
    [(said,)] = db.execute("SELECT value FROM meta WHERE key = 'format'")
    db.close()
    return names, int(str(said)), (folder / "notes.txt").read_text(), read_marker(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path)
    return tmp_path


def test_todays_steps_lead_to_todays_format_one_by_one() -> None:
    assert [step.to for step in STEPS] == list(range(2, FOLDER.current + 1))


def test_a_new_folder_says_its_format_and_which_release_reads_it(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "data", BARE) as opened:
        said = json.loads((opened.path / MARKER).read_text())

    assert said["format"] == opened.format == FOLDER.current
    assert said["needs"] == FOLDER.since
    assert not said["upgrading_from"]


def test_a_folder_from_before_there_were_markers_is_of_the_first_format(folder: Path) -> None:
    assert bring_up(folder).format == FOLDER.current
    assert contents(folder)[0] == ["nightly"]


def test_steps_are_taken_in_order_and_each_once(folder: Path) -> None:
    steps = planted(lambda: None)
    bring_up(folder, steps, THIRD)
    bring_up(folder, steps, THIRD)

    names, said, notes, marker = contents(folder)
    assert (names, said, notes) == (["nightly!"], 2, "one two")
    assert marker is not None
    assert (marker.format, marker.upgrading_from) == (3, 0)


def test_a_folder_that_is_up_to_date_is_not_written_to(folder: Path) -> None:
    bring_up(folder)
    before = (folder / MARKER).stat()
    bring_up(folder)

    assert (folder / MARKER).stat().st_ino == before.st_ino


@pytest.mark.parametrize("at", range(5))
def test_an_upgrade_that_was_cut_off_anywhere_goes_on_and_ends_as_if_it_had_not_been(folder: Path, at: int) -> None:
    with pytest.raises(Crash):
        bring_up(folder, planted(Cuts(at)), THIRD)
    bring_up(folder, planted(lambda: None), THIRD)

    names, said, notes, marker = contents(folder)
    assert (names, said, notes) == (["nightly!"], 2, "one two")
    assert marker is not None
    assert (marker.format, marker.upgrading_from) == (3, 0)


@pytest.mark.parametrize("at", range(5))
def test_the_release_before_refuses_a_folder_whose_upgrade_was_cut_off(folder: Path, at: int) -> None:
    with pytest.raises(Crash):
        bring_up(folder, planted(Cuts(at)), THIRD)
    before = FileFormat("the data folder", current=1, since="0.1.0")
    marker = read_marker(folder)
    assert marker is not None

    with pytest.raises(FormatUnreadable):
        before.check(folder, marker.format)


def test_a_newer_folder_is_refused_and_nothing_in_it_is_touched(folder: Path) -> None:
    (folder / MARKER).write_text('{"format": 99, "needs": "99.0.0"}')
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    with pytest.raises(FormatUnreadable, match=r"release 99\.0\.0 or newer"):
        DataFolder(folder, BARE).open()

    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    after.pop("LOCK")
    assert after == before


def test_a_refused_folder_is_not_kept_locked(folder: Path) -> None:
    (folder / MARKER).write_text('{"format": 99}')
    with pytest.raises(FormatUnreadable):
        DataFolder(folder, BARE).open()
    (folder / MARKER).unlink()

    with DataFolder(folder, BARE) as opened:
        assert opened.format == FOLDER.current


def test_a_marker_that_contradicts_itself_is_damage(folder: Path) -> None:
    (folder / MARKER).write_text('{"format": 99, "needs": "0.0.1"}')

    with pytest.raises(StateDamaged):
        bring_up(folder)


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("before")

    def cut(_: int) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", cut)
        with pytest.raises(Crash):
            replace_file(path, b"after")
    assert path.read_text() == "before"
    replace_file(path, b"after")
    assert path.read_text() == "after"
