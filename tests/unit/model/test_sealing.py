from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.model.sealing import SealBroken, Sealer
from chronos.model.secret import SEALED_PREFIX
from chronos.timing.clock import SeededChance


def sealer(key: int = 1) -> Sealer:
    return Sealer(bytes([key]) * 32, SeededChance(random.Random(key)))


@given(st.text(max_size=500).filter(lambda text: not text.startswith(SEALED_PREFIX)), st.text(max_size=100))
def test_what_is_sealed_opens_in_its_place(text: str, place: str) -> None:
    sealed = sealer().seal(text, place)
    assert sealed.startswith(SEALED_PREFIX)
    assert sealer().open(sealed, place) == text


def test_a_sealed_text_cannot_be_moved_to_another_job() -> None:
    sealed = sealer().seal("hush", "default/job-a/target.auth.token")
    with pytest.raises(SealBroken, match="default/job-b"):
        sealer().open(sealed, "default/job-b/target.auth.token")


def test_another_key_opens_nothing() -> None:
    with pytest.raises(SealBroken):
        sealer(2).open(sealer(1).seal("hush", "here"), "here")


@given(st.data())
def test_a_single_changed_bit_is_noticed(data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(sealer().seal("hush", "here").removeprefix(SEALED_PREFIX)))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(SealBroken):
        sealer().open(SEALED_PREFIX + base64.urlsafe_b64encode(raw).decode(), "here")


def test_equal_texts_are_sealed_unequally_and_a_sealed_one_is_left_alone() -> None:
    seal = sealer()
    first, second = seal.seal("hush", "here"), seal.seal("hush", "here")
    assert first != second
    assert seal.seal(first, "here") == first


def test_a_text_that_was_never_sealed_is_returned_as_it_is() -> None:
    assert sealer().open("plain", "here") == "plain"


@pytest.mark.parametrize("text", ["sealed:", "sealed:!!", "sealed:AAAA"])
def test_rubbish_is_refused_with_the_place(text: str) -> None:
    with pytest.raises(SealBroken, match="at here"):
        sealer().open(text, "here")
