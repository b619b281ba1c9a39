"""What lies in etcd for an entry."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.cluster.etcd.envelope import Sealed, seal, unseal
from chronos.cluster.port import Entry
from chronos.errors import FormatUnreadable, LogDamaged

U63 = st.integers(0, (1 << 63) - 1)
DATA = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda part, times: part * times, st.binary(min_size=1, max_size=40), st.integers(0, 4_000)),
)


def sealed(entry: Entry, before: int = 0) -> bytes:
    return asyncio.run(seal(entry, before))


@given(st.integers(1, 1 << 60), U63, U63, DATA)
def test_an_entry_is_opened_as_it_was_sealed(index: int, epoch: int, before: int, data: bytes) -> None:
    entry = Entry(index, epoch, data)
    assert unseal(index, sealed(entry, before)) == Sealed(entry, before)


@given(DATA, st.data())
def test_a_flipped_bit_is_seen(data: bytes, draw: st.DataObject) -> None:
    value = bytearray(sealed(Entry(7, 3, data), 11))
    bit = draw.draw(st.integers(0, len(value) * 8 - 1))
    value[bit // 8] ^= 1 << bit % 8
    with pytest.raises((LogDamaged, FormatUnreadable)):
        unseal(7, bytes(value))


@given(DATA, st.data())
def test_a_cut_is_seen(data: bytes, draw: st.DataObject) -> None:
    value = sealed(Entry(7, 3, data), 11)
    with pytest.raises(LogDamaged) as caught:
        unseal(7, value[: draw.draw(st.integers(0, len(value) - 1))])
    assert caught.value.facts["last_good"] == 6


def test_an_entry_at_another_place_than_its_own_is_seen() -> None:
    with pytest.raises(LogDamaged):
        unseal(8, sealed(Entry(7, 3, b"seven")))


def test_what_repeats_itself_takes_less_space() -> None:
    assert len(sealed(Entry(1, 1, b"again " * 10_000))) < 1_000
    assert len(sealed(Entry(1, 1, b"again " * 100_000))) < 5_000


def test_a_newer_format_names_what_to_do() -> None:
    value = b"\x02" + sealed(Entry(1, 1, b"x"))[1:]
    with pytest.raises(FormatUnreadable, match="release of the others"):
        unseal(1, value)


def test_an_entry_costs_twenty_six_bytes_more_than_it_weighs() -> None:
    assert len(sealed(Entry(1, 1, b""))) == 26
