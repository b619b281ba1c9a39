"""What has changed from one output to the next: lines, and the words in them. Pure, and bounded in time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from enum import Enum
from typing import NamedTuple

LINE_PAIRS_MAX = 40_000
"""Above so many pairs of lines to compare they are compared by their place alone."""

WORD_PAIRS_MAX = 2_500
"""Above so many pairs of words in a line, what lies between its common beginning and end has changed."""

_PHRASE = re.compile(r"\S+(?: \S+)*")
_WORD = re.compile(r"\w+|\s+|[^\w\s]")


class Mark(Enum):
    """What a line is, beside the output before; the value stands in front of it on the screen."""

    SAME = " "
    CHANGED = "~"
    NEW = "+"


class Line(NamedTuple):
    """A line and what is different in it. `spans`: from, to; ascending, and none of them empty."""

    text: str
    mark: Mark = Mark.SAME
    spans: tuple[tuple[int, int], ...] = ()


class Difference(NamedTuple):
    """An output beside the one before. `gone`: how many lines of that one are in it no more."""

    lines: list[Line]
    gone: int = 0

    @property
    def changed(self) -> int:
        return sum(line.mark is not Mark.SAME for line in self.lines)


def difference(before: Sequence[str], after: Sequence[str]) -> Difference:
    """Return `after` line by line, with what is different from `before`."""
    lines: list[Line] = []
    gone = 0
    for tag, old, new in _blocks(before, after):
        if tag == "equal":
            lines += [Line(text) for text in new]
            continue
        lines += [_compared(one, other) for one, other in zip(old, new, strict=False)]
        lines += [Line(text, Mark.NEW, _whole(text)) for text in new[len(old) :]]
        gone += max(0, len(old) - len(new))
    return Difference(lines, gone)


def _blocks(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """Yield runs of lines that are equal, or in each other's place."""
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    yield "equal", before[:head], after[:head]
    if len(old) * len(new) > LINE_PAIRS_MAX:
        yield from _by_place(old, new)
    else:
        for tag, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            yield tag, old[i1:i2], new[j1:j2]
    yield "equal", before[len(before) - tail :], after[len(after) - tail :]


def _by_place(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    both = min(len(old), len(new))
    for one, other in zip(old, new, strict=False):
        yield ("equal" if one == other else "replace"), [one], [other]
    yield "replace", old[both:], new[both:]


def _common(before: Sequence[str], after: Sequence[str]) -> int:
    """Return how many of the first ones are the same."""
    for number, (one, other) in enumerate(zip(before, after, strict=False)):
        if one != other:
            return number
    return min(len(before), len(after))


def _compared(before: str, after: str) -> Line:
    if before == after:
        return Line(after)
    return Line(after, Mark.CHANGED, tuple(_changed_spans(before, after)))


def _changed_spans(before: str, after: str) -> Iterator[tuple[int, int]]:
    """Yield where `after` has words that `before` has not."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    if len(old) * len(new) > WORD_PAIRS_MAX:
        head = _common(before, after)
        tail = _common(before[head:][::-1], after[head:][::-1])
        if head < len(after) - tail:
            yield from _without_blanks(after, head, len(after) - tail)
        return
    ends = [0]
    for word in new:
        ends.append(ends[-1] + len(word))
    for tag, _, _, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag in ("replace", "insert"):
            yield from _without_blanks(after, ends[j1], ends[j2])


def _without_blanks(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a span between wide blanks: what only moved is nothing to look at."""
    for found in _PHRASE.finditer(text, begin, end):
        yield found.span()


def _whole(text: str) -> tuple[tuple[int, int], ...]:
    return ((0, len(text)),) if text else ()
