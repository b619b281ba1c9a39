"""A disk in memory: what is durable, what is not, and what a crash leaves."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from chronos.testing.disk.model import POWER_CUTS, SECTOR, DiskModel, Keeps, flipped

CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 3000), st.binary(min_size=1, max_size=1500)),
        st.tuples(st.just("cut"), st.integers(0, 3000), st.just(b"")),
        st.tuples(st.just("sync"), st.just(0), st.just(b"")),
    ),
    max_size=12,
)


def played(changes: list[tuple[str, int, bytes]]) -> tuple[DiskModel, bytes, bytes]:
    """Return the disk, what the writer sees of its one file, and what was there at the last sync."""
    disk, seen, durable = DiskModel({"f": b""}), bytearray(), b""
    for kind, at, data in changes:
        if kind == "write":
            disk.write("f", at, data)
            seen.extend(bytes(max(0, at - len(seen))))
            seen[at : at + len(data)] = data
        elif kind == "cut":
            disk.cut("f", at)
            del seen[at:]
            seen.extend(bytes(at - len(seen)))
        else:
            disk.sync("f")
            durable = bytes(seen)
    return disk, bytes(seen), durable


@given(CHANGES)
def test_without_a_power_cut_everything_written_is_there(changes: list[tuple[str, int, bytes]]) -> None:
    disk, seen, _ = played(changes)
    assert disk.image(Keeps.ALL, random.Random(0)) == {"f": seen}


@given(CHANGES)
def test_at_worst_what_was_synced_is_there(changes: list[tuple[str, int, bytes]]) -> None:
    disk, _, durable = played(changes)
    assert disk.image(Keeps.NOTHING, random.Random(0)) == {"f": durable}


@given(CHANGES)
def test_after_a_sync_no_power_cut_takes_anything(changes: list[tuple[str, int, bytes]]) -> None:
    disk, seen, _ = played(changes)
    disk.sync("f")
    assert all(disk.image(keeps, random.Random(1)) == {"f": seen} for keeps in POWER_CUTS)


def test_every_prefix_of_the_unsynced_writes_may_be_what_is_left() -> None:
    disk = DiskModel({"f": b"...."})
    for at in range(4):
        disk.write("f", at, b"x")
    left = {disk.image(Keeps.PREFIX, random.Random(seed))["f"] for seed in range(100)}
    assert left == {b"....", b"x...", b"xx..", b"xxx.", b"xxxx"}


def test_a_write_is_torn_at_sectors_and_nowhere_else() -> None:
    disk = DiskModel({"f": bytes(4 * SECTOR)})
    disk.write("f", 100, b"x" * (3 * SECTOR))
    left = {disk.image(Keeps.SUBSET, random.Random(seed))["f"] for seed in range(200)}
    cuts = [0, 100, SECTOR, 2 * SECTOR, 3 * SECTOR, 3 * SECTOR + 100, 4 * SECTOR]
    pieces = {tuple(image[a:b] for a, b in itertools.pairwise(cuts)) for image in left}
    assert len(pieces) > 8
    assert all(len(set(part)) == 1 for parts in pieces for part in parts)


def test_reordered_writes_to_one_place_leave_either_of_them() -> None:
    disk = DiskModel({"f": b"."})
    disk.write("f", 0, b"a")
    disk.write("f", 0, b"b")
    left = {disk.image(Keeps.REORDERED, random.Random(seed))["f"] for seed in range(100)}
    assert left == {b".", b"a", b"b"}


def test_what_a_failed_sync_has_dropped_looks_written_and_never_lands() -> None:
    disk = DiskModel({"f": b"...."})
    disk.write("f", 0, b"x")
    disk.drop("f")
    disk.write("f", 3, b"y")
    disk.sync("f")
    assert disk.image(Keeps.NOTHING, random.Random(0)) == {"f": b"...y"}


def test_a_new_name_lasts_from_the_first_sync_on_and_a_removed_one_may_come_back() -> None:
    disk = DiskModel({"old": b"1"})
    disk.create("new")
    disk.write("new", 0, b"2")
    disk.remove("old", durable=False)
    assert disk.image(Keeps.NOTHING, random.Random(0)) == {"old": b"1"}
    assert disk.image(Keeps.ALL, random.Random(0)) == {"new": b"2"}
    disk.sync("new")
    assert disk.image(Keeps.NOTHING, random.Random(0)) == {"old": b"1", "new": b"2"}
    disk.sync_folder(".")
    assert disk.image(Keeps.NOTHING, random.Random(0)) == {"new": b"2"}
    disk.remove("new", durable=True)
    assert all(disk.image(keeps, random.Random(0)) == {} for keeps in Keeps)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_flipped_bit_is_one_bit(data: bytes, draw: st.DataObject) -> None:
    bit = draw.draw(st.integers(0, len(data) * 8 - 1))
    changed = flipped(data, bit)
    differing = int.from_bytes(data, "little") ^ int.from_bytes(changed, "little")
    assert differing.bit_count() == 1
    assert flipped(changed, bit) == data
