"""A world in which a mode is driven: runs take no real time, and both clocks go alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from chronos.repeater.port import Mode, Moment, Run

START_S = 1_000.0
START_AT = 1_700_000_000.0


class Answer(NamedTuple):
    """What a run is like."""

    ok: bool
    took_s: float = 0.0


def at(seconds: float) -> Moment:
    """Return the moment so many seconds after the start."""
    return Moment(START_S + seconds, START_AT + seconds)


def an_ended_run(number: int, started_s: float, answer: Answer) -> Run:
    return Run(
        number=number,
        started_s=started_s,
        ended_s=started_s + answer.took_s,
        started_at=START_AT + started_s - START_S,
        ok=answer.ok,
        exit_code=0 if answer.ok else 1,
    )


def driven(mode: Mode, answer: Callable[[float], Answer], *, runs: int) -> Iterator[Run]:
    """Yield at most so many runs, one after the other, as `answer` says by the second of their start."""
    due_s = mode.first_s(at(0))
    assert due_s >= START_S
    for number in range(1, runs + 1):
        run = an_ended_run(number, due_s, answer(due_s - START_S))
        yield run
        now = at(run.ended_s - START_S)
        following = mode.next_s(run, now)
        if following is None:
            return
        assert following >= now.monotonic_s
        due_s = following


def starts(mode: Mode, *, runs: int, ok: bool = False, took_s: float = 0.0) -> list[float]:
    """Return when at most so many runs that are all alike start, in seconds after the start."""
    return [run.started_s - START_S for run in driven(mode, lambda _: Answer(ok, took_s), runs=runs)]


def gaps(seconds: list[float]) -> list[float]:
    return [b - a for a, b in pairwise(seconds)]
