"""A file is used if it is ours, if nobody else may write to it or beside it, and if it is what was pinned."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.repeater.plugins.written import put, scheduler

from chronos.repeater.plugins.folder import FILES_MAX, Folder
from chronos.repeater.plugins.header import SOURCE_BYTES_MAX
from chronos.repeater.plugins.port import PluginInvalid, PluginRefused, PluginUnknown

TEXT = scheduler("return 1")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "plugins"


def folder(place: Path, pin: str = "", owner: int | None = None) -> Folder:
    """Return the directory as it is, or as if everything in it belonged to `owner`."""

    def look(fd: int) -> os.stat_result:
        found = list(os.fstat(fd))
        found[4] = os.geteuid() if owner is None else owner
        return os.stat_result(found)

    name, _, sha256 = pin.partition("=")
    return Folder(str(place), {name: sha256} if pin else {}, look)


def test_what_is_pinned_is_what_is_returned(place: Path) -> None:
    found = folder(place, put(place, "sample", TEXT)).trusted("sample")
    assert (found.text, found.header.name, found.path) == (TEXT, "sample", str(place / "sample.py"))


def test_a_file_that_is_not_pinned_is_refused_with_the_line_that_pins_it(place: Path) -> None:
    pin = put(place, "sample", TEXT)
    with pytest.raises(PluginRefused, match="is not pinned") as refused:
        folder(place).trusted("sample")
    assert pin.partition("=")[2] in str(refused.value)


def test_a_file_that_has_changed_by_one_bit_is_refused(place: Path) -> None:
    pin = put(place, "sample", TEXT)
    put(place, "sample", TEXT.replace("return 1", "return 0"))
    with pytest.raises(PluginRefused, match="has changed since it was pinned"):
        folder(place, pin).trusted("sample")


@pytest.mark.parametrize("mode", [0o646, 0o664, 0o666])
def test_a_file_that_others_may_write_to_is_refused(place: Path, mode: int) -> None:
    pin = put(place, "sample", TEXT)
    (place / "sample.py").chmod(mode)
    with pytest.raises(PluginRefused, match=r"others may write to .*sample\.py; run: chmod go-w"):
        folder(place, pin).trusted("sample")


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused_as_a_whole(place: Path, mode: int) -> None:
    pin = put(place, "sample", TEXT)
    place.chmod(mode)
    for ask in (folder(place, pin).names, lambda: folder(place, pin).trusted("sample")):
        with pytest.raises(PluginRefused, match="others may write to"):
            ask()


def test_what_belongs_to_somebody_else_is_refused(place: Path) -> None:
    pin = put(place, "sample", TEXT)
    with pytest.raises(PluginRefused, match=f"belongs to user {os.geteuid() + 1}, not to you"):
        folder(place, pin, owner=os.geteuid() + 1).trusted("sample")


def test_a_link_is_refused_wherever_it_leads(place: Path) -> None:
    pin = put(place, "other", TEXT)
    (place / "sample.py").symlink_to(place / "other.py")
    with pytest.raises(PluginRefused, match="no link"):
        folder(place, pin.replace("other", "sample")).trusted("sample")


def test_a_named_pipe_is_refused_and_not_waited_for(place: Path) -> None:
    put(place, "other", TEXT)
    os.mkfifo(place / "sample.py", 0o600)
    with pytest.raises(PluginRefused, match="no plain file"):
        folder(place).unpinned("sample")


def test_a_file_has_to_be_called_after_its_plug_in(place: Path) -> None:
    put(place, "other", TEXT)
    with pytest.raises(PluginInvalid, match=r"called `sample`; call the file sample\.py"):
        folder(place).unpinned("other")


def test_a_file_that_is_not_there_or_no_text_or_too_long_is_refused(place: Path) -> None:
    put(place, "long", "#" * (SOURCE_BYTES_MAX + 1))
    put(place, "latin", TEXT)
    (place / "latin.py").write_bytes(b"# caf\xe9")
    with pytest.raises(PluginUnknown, match="there is no file"):
        folder(place).unpinned("sample")
    with pytest.raises(PluginInvalid, match="longer than 1 MiB"):
        folder(place).unpinned("long")
    with pytest.raises(PluginInvalid, match="is not UTF-8"):
        folder(place).unpinned("latin")


def test_a_directory_that_is_none_is_refused_with_its_name(place: Path) -> None:
    with pytest.raises(PluginInvalid, match="plugins cannot be read: No such file"):
        folder(place).names()


def test_names_are_those_of_python_files_and_bounded(place: Path) -> None:
    for name in ("b", "a", "_hidden"):
        put(place, name, "")
    (place / "notes.txt").touch()
    assert folder(place).names() == ["a", "b"]
    for number in range(FILES_MAX):
        (place / f"{number}.txt").touch()
    with pytest.raises(PluginInvalid, match=f"more than {FILES_MAX} files"):
        folder(place).names()
