"""What a command prints can neither steer the terminal nor fill it, and what has changed in it is found."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.cli.rpr.live.difference import Line, Mark, difference
from chronos.cli.rpr.live.ladder import LADDER_S, longer, shorter
from chronos.cli.rpr.live.text import LINES_MAX, STEPS, safe_lines, sparkline


@pytest.mark.parametrize(
    ("printed", "lines"),
    [
        (b"", []),
        (b"one\ntwo", ["one", "two"]),
        (b"one\r\n\r\ntwo\r\n", ["one", "", "two"]),
        (b"\x1b[1;31mred\x1b[0m \x1b[38:2::1:2:3mrgb\x1b[K", ["red rgb"]),
        (b"\x1b[2J\x1b[Hcleared\x1b[?1049h", ["cleared"]),
        (b"\x1b]0;a title\x07text\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", ["textlink"]),
        (b"10 %\r20 %\r30 %\n", ["30 %"]),
        (b"a\tb", ["a       b"]),
        (b"bell\x07 back\x08 end\x1b", ["bell\\x07 back\\x08 end\\x1b"]),
        (b"\xff\xfe", ["\ufffd\ufffd"]),
        ("\u202egpj.exe \u009b31m \u2028".encode(), ["\\u202egpj.exe \\x9b31m \\u2028"]),
    ],
)
def test_what_is_shown_is_what_a_person_would_read(printed: bytes, lines: list[str]) -> None:
    assert safe_lines(printed) == lines


@given(st.binary(max_size=300) | st.text(alphabet="a\x1b[];0mJ\r\n\t\x07\x9b\x18\\", max_size=200).map(str.encode))
def test_nothing_that_is_printed_reaches_the_terminal_as_a_control_character(printed: bytes) -> None:
    assert all(line.isprintable() for line in safe_lines(printed))


def test_of_very_many_lines_the_beginning_and_the_end_are_shown() -> None:
    lines = safe_lines(b"".join(b"%d\n" % number for number in range(60_000)))
    assert len(lines) == LINES_MAX + 1
    assert (lines[0], lines[-1]) == ("0", "59999")
    assert lines[LINES_MAX // 2] == "… 58,000 lines are left out …"


def test_words_that_have_changed_are_told_from_those_that_have_not() -> None:
    found = difference(["load: 1.25 high", "same"], ["load: 1.75 high", "same", "new"])
    assert found.lines == [
        Line("load: 1.75 high", Mark.CHANGED, ((8, 10),)),
        Line("same"),
        Line("new", Mark.NEW, ((0, 3),)),
    ]
    assert (found.changed, found.gone) == (2, 0)


def test_a_line_that_came_in_between_changes_none_of_the_others() -> None:
    found = difference(["a", "b", "c"], ["a", "x", "b", "c"])
    assert [line.mark for line in found.lines] == [Mark.SAME, Mark.NEW, Mark.SAME, Mark.SAME]
    assert difference(["a", "b", "c"], ["a", "c"]).gone == 1


LINES = st.lists(st.sampled_from(["", "a", "b", "a b", "a b c", "same same"]), max_size=12)


@given(LINES, LINES)
def test_every_line_is_there_once_and_only_what_is_equal_counts_as_the_same(
    before: list[str], after: list[str]
) -> None:
    found = difference(before, after)
    assert [line.text for line in found.lines] == after
    same = [line.text for line in found.lines if line.mark is Mark.SAME]
    rest = iter(before)
    assert all(text in rest for text in same), "the lines that are the same are before's, in their order"
    unmatched = len(before) - sum(line.mark is not Mark.NEW for line in found.lines)
    assert found.gone == unmatched


def test_what_has_only_moved_is_not_highlighted() -> None:
    (line,) = difference(["2/2  Crash   3"], ["2/2  Run     4"]).lines
    assert [line.text[begin:end] for begin, end in line.spans] == ["Run", "4"]
    (line,) = difference(["a b"], ["a  b"]).lines
    assert (line.mark, line.spans) == (Mark.CHANGED, ())


@given(st.text(alphabet="ab .\u00e9", max_size=30), st.text(alphabet="ab .\u00e9", max_size=30))
def test_what_is_not_highlighted_in_a_line_was_there_before(before: str, after: str) -> None:
    (line,) = difference([before], [after]).lines
    ends = [0, *(end for span in line.spans for end in span), len(after)]
    kept = "".join(after[begin:end] for begin, end in zip(ends[::2], ends[1::2], strict=True))
    rest = iter(before.replace(" ", ""))
    assert all(letter in rest for letter in kept.replace(" ", ""))
    assert ends == sorted(ends)


def test_outputs_that_have_nothing_in_common_are_compared_by_place_and_not_for_ever() -> None:
    draw = random.Random(7)
    before, after = ([f"{draw.random():.6f} {'x y ' * 40}" for _ in range(1_500)] for _ in range(2))
    found = difference(before, after)
    assert [line.text for line in found.lines] == after
    assert {line.mark for line in found.lines} == {Mark.CHANGED}
    assert all(0 < end <= 8 for line in found.lines for _, end in line.spans), "only the number has changed"


def test_the_bars_are_of_the_last_values_and_the_highest_is_full() -> None:
    assert sparkline([9, 9, 1, 4, 8], 3) == "▂▅█"
    assert sparkline([0, 0], 10) == STEPS[0] * 2
    assert sparkline([1, 2], 0) == sparkline([], 5) == ""


def test_plus_and_minus_go_through_the_same_intervals_and_stop_at_the_ends() -> None:
    assert (longer(5), shorter(5), longer(3), shorter(3)) == (10, 2, 5, 2)
    assert longer(LADDER_S[-1]) == LADDER_S[-1]
    assert shorter(0.001) == 0.001
    assert all(shorter(longer(each)) == each for each in LADDER_S[:-1])
