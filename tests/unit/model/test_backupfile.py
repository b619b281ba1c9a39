"""The file a backup is: what goes in comes out, and nothing else is taken for it."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos.errors import FormatUnreadable
from chronos.model.backupfile import (
    BackupDamaged,
    BackupForeign,
    Frame,
    Kind,
    PassphraseWrong,
    decode,
    encode,
    reader_of,
)
from chronos.timing.clock import SeededChance

PASSPHRASE = "correct horse battery"
FRAMES = [
    Frame(Kind.FILE, b"state.db"),
    Frame(Kind.DATA, bytes(range(64))),
    Frame(Kind.FILE, b"log.entries"),
    Frame(Kind.END, b"{}"),
]
REFUSALS = (BackupDamaged, BackupForeign, FormatUnreadable, PassphraseWrong)

bodies = st.lists(st.tuples(st.sampled_from([Kind.FILE, Kind.DATA]), st.binary(max_size=300)), max_size=8)


def written(frames: list[Frame], passphrase: str = "") -> bytes:
    return b"".join(encode(frames, passphrase=passphrase, chance=SeededChance(random.Random(1))))


def read(raw: bytes, passphrase: str = "") -> list[Frame]:
    return list(decode(io.BytesIO(raw).read, passphrase=passphrase))


@given(bodies)
def test_what_is_written_is_read_back(given_bodies: list[tuple[bytes, bytes]]) -> None:
    frames = [*(Frame(kind, body) for kind, body in given_bodies), Frame(Kind.END, b"")]
    assert read(written(frames)) == frames


@settings(max_examples=5)  # each takes a key's derivation twice
@given(bodies)
def test_what_is_encrypted_is_read_back_with_the_passphrase(given_bodies: list[tuple[bytes, bytes]]) -> None:
    frames = [*(Frame(kind, body) for kind, body in given_bodies), Frame(Kind.END, b"")]
    assert read(written(frames, PASSPHRASE), PASSPHRASE) == frames


def test_nothing_of_what_is_encrypted_can_be_read_in_the_file() -> None:
    raw = written(FRAMES, PASSPHRASE)
    assert b"state.db" not in raw
    assert bytes(range(64)) not in raw


def test_every_flipped_bit_is_refused() -> None:
    raw = written(FRAMES)
    for place in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(REFUSALS):
            read(bytes(flipped))


def test_a_flipped_bit_in_an_encrypted_backup_is_refused() -> None:
    raw = written(FRAMES, PASSPHRASE)
    draw = random.Random(7)
    for place in draw.sample(range(len(raw) * 8), 12):
        flipped = bytearray(raw)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(REFUSALS):
            read(bytes(flipped), PASSPHRASE)


def test_a_backup_that_was_cut_short_anywhere_is_refused() -> None:
    raw = written(FRAMES)
    for length in range(len(raw)):
        with pytest.raises(REFUSALS):
            read(raw[:length])


@pytest.mark.parametrize("more", [b"\0", b"anything"])
def test_a_backup_with_something_behind_it_is_refused(more: bytes) -> None:
    with pytest.raises(BackupDamaged):
        read(written(FRAMES) + more)


def test_frames_of_an_encrypted_backup_cannot_change_places() -> None:
    frames = [Frame(Kind.FILE, b"state.db"), Frame(Kind.DATA, b"a" * 9), Frame(Kind.DATA, b"b" * 9)]
    pieces = list(encode([*frames, Frame(Kind.END, b"")], passphrase=PASSPHRASE, chance=SeededChance(random.Random(1))))
    pieces[2], pieces[3] = pieces[3], pieces[2]
    with pytest.raises(BackupDamaged):
        read(b"".join(pieces), PASSPHRASE)


def test_an_encrypted_backup_says_what_it_wants_and_refuses_another_passphrase() -> None:
    raw = written(FRAMES, PASSPHRASE)
    with pytest.raises(PassphraseWrong, match="--passphrase-file"):
        read(raw)
    with pytest.raises(PassphraseWrong):
        read(raw, "another passphrase")


def test_a_backup_of_a_later_format_is_refused_with_what_to_do() -> None:
    raw = written(FRAMES).replace(b"chronos backup 1\n", b"chronos backup 2\n").replace(b'"0.1.0"', b'"9.1.0"')
    with pytest.raises(FormatUnreadable, match=r"Use release 9\.1\.0 or newer"):
        read(raw)


@pytest.mark.parametrize("foreign", [b"", b"SQLite format 3\0" + bytes(500), b"chronos"])
def test_what_is_no_backup_is_called_so(foreign: bytes) -> None:
    with pytest.raises(BackupForeign, match="no backup"):
        read(foreign)


@given(st.lists(st.binary(min_size=1, max_size=5)), st.lists(st.integers(0, 9)))
def test_bytes_that_come_in_pieces_of_any_size_are_read_as_one(pieces: list[bytes], sizes: list[int]) -> None:
    one, many = io.BytesIO(b"".join(pieces)), reader_of(pieces)
    assert [many(size) for size in sizes] == [one.read(size) for size in sizes]
