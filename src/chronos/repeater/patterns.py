"""What output says about success. A failure pattern wins over a success pattern, which wins over the exit code.

A pattern comes from a person, the text from anywhere, and some pairs of them would take for ever
(`(a+)+$` against many `a`). A search therefore gets a bounded share of CPU time; one that needs more has no
answer, and a run without an answer has failed.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

from chronos.errors import Invalid

SEARCH_CPU_S = 0.1
PATTERN_CHARS_MAX = 10_000

Pattern = re.Pattern[str]


class TooLong(Exception):
    """A search has used up its time."""


class Patterns(NamedTuple):
    """What is looked for in the output of each run."""

    failure: Pattern | None = None
    success: Pattern | None = None
    until: Pattern | None = None

    @property
    def any(self) -> bool:
        return any(pattern is not None for pattern in self)


class Verdict(NamedTuple):
    """What the patterns say.

    Attributes:
        ok: None where they say nothing, so that the exit code decides.
        reason: Why a run has failed that nobody would expect to have.
    """

    ok: bool | None = None
    matched: bool = False
    reason: str = ""


def compiled(name: str, text: str, *, case_insensitive: bool = False) -> Pattern:
    """Return the pattern that the flag `name` was given.

    Raises:
        Invalid: It is no regular expression, or too long.
    """
    if len(text) > PATTERN_CHARS_MAX:
        raise Invalid(f"--{name}: the pattern is longer than {PATTERN_CHARS_MAX} characters.")
    try:
        return re.compile(text, re.IGNORECASE if case_insensitive else 0)
    except (re.error, RecursionError, OverflowError) as exc:
        kind = name.replace("-", " ")
        raise Invalid(f"--{name}: the {kind} `{text}` is no regular expression: {exc}.") from None


def judge(patterns: Patterns, text: str) -> Verdict:
    """Return what the patterns say about the output of one run."""
    found = {}
    for name, pattern in patterns._asdict().items():
        if pattern is None:
            continue
        try:
            found[name] = searched(pattern, text)
        except TooLong:
            reason = f"the {name} pattern took more than {SEARCH_CPU_S * 1000:g}ms; write it without nested repetition"
            return Verdict(ok=False, reason=reason)
    matched = found.get("until", False)
    if found.get("failure"):
        return Verdict(False, matched)
    return Verdict(True if found.get("success") else None, matched)


def searched(pattern: Pattern, text: str, cpu_s: float = SEARCH_CPU_S) -> bool:
    """Return whether `text` holds a match.

    Raises:
        TooLong: `cpu_s` seconds of CPU time were not enough.
    """
    with _at_most(cpu_s):
        return pattern.search(text) is not None


@contextmanager
def _at_most(cpu_s: float) -> Iterator[None]:
    """Raise `TooLong` in the main thread when `cpu_s` are used up. `re` looks for signals while it searches."""
    assert threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise TooLong
