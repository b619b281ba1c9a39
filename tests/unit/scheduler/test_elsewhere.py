"""Which node is asked when others hold back what goes to a host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chronos.model.execution import Attempt, AttemptStatus, Execution, Kind
from chronos.scheduler.elsewhere import HOSTS_MAX, Elsewhere

S = 1_000_000
HOST, OTHER = ("default", "api.example:443"), ("team", "api.example:443")
NODES = ["a#1", "b#1", "c#1"]
FRESH = Execution("occ_1", "J1", "nightly", "default", Kind.SCHEDULE, "1", 1, 0, 1, 5, 0)


def tried(*attempts: tuple[str, AttemptStatus, int | None]) -> Execution:
    return replace(
        FRESH,
        attempts=tuple(
            Attempt(0, n, node, f"0.1.{n}", 0, status=status, status_code=code)
            for n, (node, status, code) in enumerate(attempts, 1)
        ),
    )


def told(**until_s: int) -> Elsewhere:
    elsewhere = Elsewhere()
    for node, seconds in until_s.items():
        elsewhere.note(HOST, f"{node}#1", seconds * S, 0)
    return elsewhere


def test_as_long_as_nobody_holds_anything_back_all_are_asked() -> None:
    assert Elsewhere().is_quiet(0)
    assert told().senders(HOST, FRESH, NODES, 0) == NODES


def test_who_holds_it_back_is_not_asked_until_then() -> None:
    elsewhere = told(a=30)
    assert not elsewhere.is_quiet(29 * S)
    assert elsewhere.senders(HOST, FRESH, NODES, 29 * S) == ["b#1", "c#1"]
    assert elsewhere.senders(HOST, FRESH, NODES, 30 * S) == NODES
    assert elsewhere.is_quiet(30 * S)


def test_a_word_holds_for_its_host_namespace_and_life_of_the_node() -> None:
    elsewhere = told(a=30)
    assert (elsewhere.is_open(HOST, S), elsewhere.is_open(OTHER, S), elsewhere.is_open(None, S)) == (False, True, True)
    assert elsewhere.senders(OTHER, FRESH, NODES, S) == NODES
    assert elsewhere.senders(None, FRESH, NODES, S) == NODES
    assert elsewhere.senders(HOST, FRESH, ["a#2", "b#1"], S) == ["a#2", "b#1"]


def test_a_newer_word_of_a_node_counts() -> None:
    elsewhere = told(a=30)
    elsewhere.note(HOST, "a#1", 5 * S, 4 * S)
    assert elsewhere.is_open(HOST, 5 * S)


def test_when_all_hold_it_back_the_first_that_may_send_is_asked() -> None:
    elsewhere = told(a=30, b=20, c=40)
    assert elsewhere.senders(HOST, FRESH, NODES, S) == ["b#1"]
    assert elsewhere.asked_us(HOST, ["a#1", "c#1"], S) == 30 * S
    assert elsewhere.asked_us(HOST, ["d#1", "c#1"], S) == S
    assert elsewhere.asked_us(HOST, [], S) is None


@pytest.mark.parametrize("code, asked", [(None, ["b#1", "c#1"]), (503, NODES)])
def test_a_retry_does_not_go_back_to_where_no_answer_came(code: int | None, asked: list[str]) -> None:
    execution = tried(("a#1", AttemptStatus.FAILED, code))
    assert told().senders(HOST, execution, NODES, 0) == asked


def test_when_every_node_was_left_without_an_answer_all_are_asked_again() -> None:
    lost = [(node, AttemptStatus.FAILED, None) for node in NODES]
    assert told().senders(HOST, tried(*lost), NODES, 0) == NODES
    assert told().senders(HOST, tried(*lost, lost[1]), NODES, 0) == ["a#1", "c#1"]


def test_that_a_breaker_is_open_says_more_than_that_an_answer_is_missing() -> None:
    execution = tried(("b#1", AttemptStatus.FAILED, None))
    assert told(a=30, c=30).senders(HOST, execution, NODES, S) == ["b#1"]


def test_of_too_many_hosts_those_are_forgotten_that_nobody_spoke_of_for_longest() -> None:
    elsewhere = told(a=30)
    for number in range(HOSTS_MAX):
        elsewhere.note(("default", f"host-{number}"), "a#1", 30 * S, 0)
    assert elsewhere.is_open(HOST, 0)
    assert not elsewhere.is_open(("default", "host-0"), 0)


@given(
    words=st.lists(st.tuples(st.sampled_from(NODES), st.integers(0, 60)), max_size=12),
    attempts=st.lists(
        st.tuples(st.sampled_from(NODES), st.sampled_from(list(AttemptStatus)), st.sampled_from([None, 503])),
        max_size=6,
    ),
    nodes=st.lists(st.sampled_from(NODES), min_size=1, unique=True),
    now_s=st.integers(0, 60),
)
def test_somebody_is_always_asked_and_nobody_who_holds_it_back_while_another_does_not(
    words: list[tuple[str, int]],
    attempts: list[tuple[str, AttemptStatus, int | None]],
    nodes: list[str],
    now_s: int,
) -> None:
    elsewhere = Elsewhere()
    for node, until_s in words:
        elsewhere.note(HOST, node, until_s * S, 0)
    until = dict(words)
    asked = elsewhere.senders(HOST, tried(*attempts), nodes, now_s * S)
    assert asked
    assert set(asked) <= set(nodes)
    able = [node for node in nodes if until.get(node, 0) <= now_s]
    assert set(asked) <= set(able) or not able
