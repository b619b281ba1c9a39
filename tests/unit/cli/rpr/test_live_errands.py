"""Patterns are looked for on the main thread, whoever asks, and whether there is a screen or not."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from chronos.cli.rpr.live import errands as module
from chronos.cli.rpr.live.errands import Errands
from chronos.repeater.patterns import Patterns, Verdict, compiled

ANSWER_S = 30.0


def test_the_answer_is_that_of_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[threading.Thread] = []

    def judge(patterns: Patterns, text: str) -> Verdict:
        where.append(threading.current_thread())
        return Verdict(ok=text == "good")

    monkeypatch.setattr(module, "judge", judge)
    errands = Errands()
    with ThreadPoolExecutor(1) as engine:
        asked = [engine.submit(errands.judge, Patterns(), text) for text in ("good", "bad")]
        for _ in asked:
            errands.serve(wait_s=ANSWER_S)
        assert [each.result(ANSWER_S).ok for each in asked] == [True, False]
    assert where == [threading.main_thread()] * 2


def test_a_real_pattern_is_found_and_the_main_thread_is_woken_for_it() -> None:
    errands, woken = Errands(), threading.Event()
    patterns = Patterns(until=compiled("until-match", "b+", case_insensitive=False))
    errands.wake = woken.set
    with ThreadPoolExecutor(1) as engine:
        asked = engine.submit(errands.judge, patterns, "abc")
        assert woken.wait(ANSWER_S)
        errands.serve()
        assert asked.result(ANSWER_S).matched


def test_nothing_to_do_is_no_wait() -> None:
    Errands().serve()
    Errands().serve(wait_s=0.001)


def test_who_asked_does_not_wait_for_ever_when_the_search_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_patterns: Patterns, _text: str) -> Verdict:
        raise MemoryError

    monkeypatch.setattr(module, "judge", broken)
    errands = Errands()
    with ThreadPoolExecutor(1) as engine:
        asked = engine.submit(errands.judge, Patterns(), "")
        with pytest.raises(MemoryError):
            errands.serve(wait_s=ANSWER_S)
        with pytest.raises(CancelledError):
            asked.result(ANSWER_S)
