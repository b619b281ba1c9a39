"""What `chronosctl cluster snapshot` makes of what a server hands out."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest

from chronos.cli.chronosctl.snapshots import Snapshot, Told
from chronos.errors import Unavailable
from chronos.model.backupfile import BackupDamaged, BackupExists, Frame, Kind, decode, encode, reader_of
from chronos.timing.clock import SeededChance

CHANCE = SeededChance(random.Random(1))
SAID = Told("0.1.0", 5_000_000, 1, 9, 1_000_000, 7, 4_000_000, 3, "n2")
FRAMES = [Frame(Kind.FILE, b"state.db"), Frame(Kind.DATA, bytes(5_000)), Frame(Kind.END, msgspec.json.encode(SAID))]
SENT = b"".join(encode(FRAMES))


def in_pieces(sent: bytes) -> Iterator[bytes]:
    yield from (sent[at : at + 700] for at in range(0, len(sent), 700))


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_sent_is_what_is_in_the_file(tmp_path: Path) -> None:
    target = Snapshot(tmp_path / "a", CHANCE)
    assert target.save(lambda: in_pieces(SENT)) == SAID
    assert (tmp_path / "a").read_bytes() == SENT
    assert target.bytes == len(SENT)


def test_with_a_passphrase_nobody_reads_it_without(tmp_path: Path) -> None:
    Snapshot(tmp_path / "a", CHANCE, passphrase="correct horse battery").save(lambda: in_pieces(SENT))
    kept = (tmp_path / "a").read_bytes()
    assert b"state.db" not in kept
    assert list(decode(reader_of([kept]), passphrase="correct horse battery")) == FRAMES


@pytest.mark.parametrize(
    "sent", [SENT[:-1], SENT[:900], SENT[:300] + b"x" + SENT[301:], SENT + b"x", b"".join(encode(FRAMES[:2]))]
)
def test_what_is_not_whole_has_no_name(tmp_path: Path, sent: bytes) -> None:
    with pytest.raises(BackupDamaged):
        Snapshot(tmp_path / "a", CHANCE).save(lambda: in_pieces(sent))
    assert left_in(tmp_path) == []


def test_what_breaks_off_leaves_the_old_one(tmp_path: Path) -> None:
    def breaks_off() -> Iterator[bytes]:
        yield SENT[:900]
        raise Unavailable("the connection was lost")

    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(Unavailable):
        Snapshot(tmp_path / "a", CHANCE, replace=True).save(breaks_off)
    assert (left_in(tmp_path), (tmp_path / "a").read_bytes()) == (["a"], b"old")


def test_nobody_is_asked_for_what_may_not_be_written(tmp_path: Path) -> None:
    def nobody() -> Iterable[bytes]:
        raise AssertionError("the server was asked")

    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(BackupExists):
        Snapshot(tmp_path / "a", CHANCE).save(nobody)


@pytest.mark.parametrize(
    "first, last, has_log, back_us", [(1, 9, True, 1_000_000), (4, 9, True, 4_000_000), (8, 7, False, 4_000_000)]
)
def test_how_far_back_it_reaches_depends_on_its_log(first: int, last: int, has_log: bool, back_us: int) -> None:
    told = msgspec.structs.replace(SAID, first=first, last=last)
    assert (told.has_log, told.reaches_back_us) == (has_log, back_us)
