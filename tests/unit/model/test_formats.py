"""What is said of files of other formats."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos import __version__
from chronos.errors import FormatUnreadable, StateDamaged
from chronos.model.formats import MARKER, FileFormat, is_newer, key_of, key_text, read_marker

THIRD = FileFormat("a box", current=3, oldest=2, since="0.1.0")
BOX = Path("box.db")


@pytest.mark.parametrize("found", [2, 3])
def test_what_is_between_the_oldest_and_the_newest_is_read(found: int) -> None:
    assert THIRD.check(BOX, found) == found


def test_a_newer_format_is_refused_with_the_file_both_formats_and_what_to_do() -> None:
    with pytest.raises(FormatUnreadable) as refused:
        THIRD.check(BOX, 7, "99.2.0")

    said = str(refused.value)
    for word in ("box.db", "a box", "format 7", "formats 2 to 3", __version__, "release 99.2.0 or newer", "backup"):
        assert word in said
    assert refused.value.facts == {"file": "box.db", "format": 7, "needs": "99.2.0"}


def test_a_newer_format_that_does_not_say_who_reads_it_is_refused_all_the_same() -> None:
    with pytest.raises(FormatUnreadable, match="the release that wrote it, or a newer one"):
        THIRD.check(BOX, 4)


def test_an_older_format_than_the_oldest_is_refused() -> None:
    with pytest.raises(FormatUnreadable, match=r"format 1; .* reads formats 2 to 3"):
        THIRD.check(BOX, 1)


@pytest.mark.parametrize("found", [None, "1", 1.0, True, -1, b""])
def test_what_is_no_format_is_damage(found: object) -> None:
    with pytest.raises(ValueError):
        THIRD.check(BOX, found)


def test_a_newer_format_that_this_release_is_said_to_read_is_damage() -> None:
    with pytest.raises(ValueError):
        THIRD.check(BOX, 7, __version__)


@pytest.mark.parametrize(
    ("release", "than", "newer"),
    [
        ("0.2.0", "0.1.0", True),
        ("0.10.0", "0.9.0", True),
        ("0.1.0", "0.1.0", False),
        ("0.1", "0.1.0", False),
        ("1.0.0rc1", "0.9", True),
        ("", "0.1.0", False),
        ("main", "0.1.0", False),
    ],
)
def test_releases_are_compared_by_their_numbers(release: str, than: str, newer: bool) -> None:
    assert is_newer(release, than) is newer


def test_a_key_says_its_format_and_is_read_back() -> None:
    key = bytes(range(32))

    assert key_text(key).startswith("chronos-key/1/")
    assert key_of(Path("credentials"), key_text(key) + "\n") == key


def test_a_key_as_the_first_releases_wrote_it_is_read() -> None:
    assert key_of(Path("credentials"), "ab" * 32) == b"\xab" * 32


def test_a_key_of_a_newer_release_is_refused_by_name() -> None:
    with pytest.raises(FormatUnreadable, match=r"credentials .*release 99\.0 or newer"):
        key_of(Path("credentials"), "chronos-key/2/99.0:what nobody knows yet")


def test_a_folder_that_says_nothing_has_no_marker(tmp_path: Path) -> None:
    assert read_marker(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": "1"}', '{"format": 1'])
def test_a_marker_that_was_not_written_so_is_damage(tmp_path: Path, text: str) -> None:
    (tmp_path / MARKER).write_text(text)

    with pytest.raises(StateDamaged, match="not what was written"):
        read_marker(tmp_path)


def test_what_a_newer_release_adds_to_the_marker_does_not_keep_it_from_being_read(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text('{"format": 9, "needs": "99.0.0", "shards": [1, 2]}')

    marker = read_marker(tmp_path)

    assert marker is not None
    assert (marker.format, marker.needs) == (9, "99.0.0")
