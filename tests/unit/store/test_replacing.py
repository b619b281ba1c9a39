"""State and history are replaced whole, wherever it is cut off."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from chronos.store import replacing
from chronos.store.datafolder import DataFolder, DataFolderSettings


class Cut(Exception):
    """The process ends here."""


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("LOCK", "FORMAT")
    }


def laid_out(folder: Path) -> tuple[Path, Path]:
    """Return a data folder, and a copy to put in its place."""
    data, copy = folder / "data", folder / "data" / "snapshot.in" / "files"
    for place, word in ((data, "old"), (copy, "new")):
        (place / "history").mkdir(parents=True)
        (place / "state.db").write_text(f"{word} state")
        (place / "history" / f"{word}.db").write_text(f"{word} segment")
    (data / "state.db-wal").write_text("old tail")
    (data / "admin.key").write_text("kept")
    return data, copy


NEW = {"admin.key": "kept", "history/new.db": "new segment", "state.db": "new state"}


def test_a_copy_takes_the_place_of_what_is_there(tmp_path: Path) -> None:
    data, copy = laid_out(tmp_path)
    replacing.replace(data, copy)
    assert content(data) == NEW
    assert not (data / replacing.READY).exists()
    assert not (data / replacing.OLD).exists()
    assert not replacing.finish(data)


def test_a_folder_that_has_nothing_yet_gets_it_too(tmp_path: Path) -> None:
    data, copy = laid_out(tmp_path)
    for path in (data / "state.db", data / "state.db-wal", data / "history" / "old.db"):
        path.unlink()
    (data / "history").rmdir()
    replacing.replace(data, copy)
    assert content(data) == NEW


@pytest.mark.parametrize(("point", "times"), [("snapshot.ready", 1), ("snapshot.midway", 1), ("snapshot.midway", 2)])
@pytest.mark.parametrize("again", [False, True])
def test_whoever_opens_the_folder_next_finishes_it(
    point: str, times: int, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, copy = laid_out(tmp_path)
    reached: Counter[str] = Counter()

    def reach(name: str) -> None:
        reached[name] += 1
        if reached[point] == times:
            raise Cut

    monkeypatch.setattr(replacing, "reach", reach)
    with pytest.raises(Cut):
        replacing.replace(data, copy)
    if again and point != "snapshot.ready":
        # The start that finishes it is cut off, too: after what it does first.
        (data / replacing.OLD / "history").mkdir(exist_ok=True)
    monkeypatch.undo()
    with DataFolder(data, DataFolderSettings(ballast_bytes=0)):
        pass
    assert content(data) == NEW


def test_before_the_copy_counts_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, copy = laid_out(tmp_path)
    before = content(data)

    def fail(_: Path) -> None:
        raise Cut

    monkeypatch.setattr(replacing, "_make_durable", fail)
    with pytest.raises(Cut):
        replacing.replace(data, copy)
    monkeypatch.undo()
    assert not replacing.finish(data)
    assert content(data) == before
