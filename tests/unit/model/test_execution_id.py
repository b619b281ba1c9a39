from __future__ import annotations

import base64
import re
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.model.execution import Kind, execution_id, execution_ids, instant_of

# Written down once: an id that changes breaks every target that de-duplicates, and every restored backup.
GOLDEN = [
    (
        ("01J9Z3K4M5N6P7Q8R9S0T1V2W3", Kind.SCHEDULE, "1798761600", 1798761600),
        "occ_01ljdr40040097h6i17rqgb9pi61psnn",
    ),
    (
        ("01J9Z3K4M5N6P7Q8R9S0T1V2W3", Kind.MANUAL, "01J9Z3K4M5N6P7Q8R9S0T1V2W4", 1798761600),
        "occ_01ljdr40l3pjpkpev7n973kodp9cn562",
    ),
    (("j", Kind.BACKFILL, "0", 0), "occ_00000000nfmd907d1ok4v5pisakt64r1"),
]

instants = st.integers(0, (1 << 40) - 1)
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
kinds = st.sampled_from(Kind)


@pytest.mark.parametrize(("key", "expected"), GOLDEN)
def test_an_id_is_the_same_for_ever(key: tuple[str, Kind, str, int], expected: str) -> None:
    assert execution_id(*key) == expected


@given(words, kinds, words, instants)
def test_an_id_gives_its_instant_back(job: str, kind: Kind, discriminator: str, instant: int) -> None:
    assert instant_of(execution_id(job, kind, discriminator, instant)) == instant


@given(words, words, kinds, words, instants, instants)
def test_ids_are_ordered_in_time(one: str, other: str, kind: Kind, word: str, a: int, b: int) -> None:
    if a < b:
        assert execution_id(one, kind, word, a) < execution_id(other, kind, word, b)
    if a > b:
        assert execution_id(one, kind, word, a) > execution_id(other, kind, word, b)


@given(words, kinds, words, instants)
def test_an_id_can_stand_in_a_header_a_path_and_a_signature(job: str, kind: Kind, word: str, instant: int) -> None:
    # Standard Webhooks joins id, time and body with dots, so the id must hold none.
    assert re.fullmatch(r"occ_[0-9a-v]{32}", execution_id(job, kind, word, instant))


@given(st.lists(st.tuples(words, kinds, words, instants), unique=True, max_size=50))
def test_another_key_is_another_id(keys: list[tuple[str, Kind, str, int]]) -> None:
    assert len({execution_id(*key) for key in keys}) == len(keys)


@given(st.lists(st.tuples(words, kinds, words, instants), max_size=50))
def test_many_ids_at_once_are_those_of_each_key_spelled_out(keys: list[tuple[str, Kind, str, int]]) -> None:
    spelled = []
    for job, kind, word, instant in keys:
        digest = blake2b(f"{job}\0{kind.value}\0{word}".encode(), digest_size=15).digest()
        spelled.append("occ_" + base64.b32hexencode(instant.to_bytes(5, "big") + digest).decode().lower())
    assert execution_ids(keys) == spelled


def test_the_parts_of_a_key_do_not_run_into_each_other() -> None:
    assert execution_id("a", Kind.EVENT, "bc", 1) != execution_id("ab", Kind.EVENT, "c", 1)


@pytest.mark.parametrize("text", ["", "occ_", "occ_123", "run_01ljdr40040097h6i17rqgb9pi61psnn", "occ_" + "!" * 32])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        instant_of(text)
