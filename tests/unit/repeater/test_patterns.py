"""What patterns say of a run, and that none of them takes for ever."""

from __future__ import annotations

import signal

import pytest

from chronos.errors import Invalid
from chronos.repeater.patterns import Patterns, TooLong, compiled, judge, searched

OK = compiled("success-pattern", "ok")
BAD = compiled("failure-pattern", "bad")


@pytest.mark.parametrize(
    ("text", "verdict"), [("ok", True), ("bad", False), ("ok and bad", False), ("neither", None), ("", None)]
)
def test_a_failure_wins_and_silence_leaves_it_to_the_exit_code(text: str, verdict: bool | None) -> None:
    assert judge(Patterns(failure=BAD, success=OK), text).ok is verdict


def test_a_search_that_takes_too_long_is_given_up() -> None:
    endless = compiled("success-pattern", "(a+)+$")
    with pytest.raises(TooLong):
        searched(endless, "a" * 50_000 + "b")
    verdict = judge(Patterns(success=endless), "a" * 50_000 + "b")
    assert verdict.ok is False
    assert "the success pattern took more than 100ms" in verdict.reason


def test_a_search_leaves_the_timer_and_the_signal_as_they_were() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    assert searched(OK, "ok")
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) == before


@pytest.mark.parametrize("text", ["[bad", "(", "(?P<x", "a{9999999999999}", "x" * 10_001])
def test_what_is_no_pattern_is_refused_by_the_name_of_its_flag(text: str) -> None:
    with pytest.raises(Invalid, match=r"^--success-pattern: the "):
        compiled("success-pattern", text)
