"""How output is passed on: nothing lost, nothing mixed, nothing held without a bound."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.repeater.capture import Capture, Kept
from chronos.repeater.engine import Listener, Report
from chronos.repeater.port import Run
from chronos.repeater.showing import LINE_BYTES_MAX, Blocks, Lines, Print, Raw, statistics
from chronos.repeater.stops import Fate, Seen, Stops, Tally


class Screen:
    """Keeps what is printed."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []

    def __call__(self, stream: int, data: bytes) -> None:
        self.pieces.append((stream, data))

    def all(self, stream: int = 1) -> bytes:
        return b"".join(data for at, data in self.pieces if at == stream)


def report(number: int = 1) -> Report:
    return Report(Run(number, 0, 1, 0, True, 0), Fate.OK, 1, "", Capture(texts=False, fingerprint=False))


PIECES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20)), max_size=20)


@pytest.mark.parametrize("make", [Raw, Lines, Blocks])
@given(pieces=PIECES)
def test_every_byte_arrives_in_order_however_it_is_buffered(
    make: Callable[[Print], Listener], pieces: list[tuple[int, bytes]]
) -> None:
    screen = Screen()
    listener = make(screen)
    for stream, data in pieces:
        listener.wrote(1, stream, data)
    listener.ended(report())
    for stream in (1, 2):
        sent = b"".join(data for at, data in pieces if at == stream)
        # A last line without an end gets one where lines are what is passed on.
        assert screen.all(stream) in (sent, sent + b"\n" if make is Lines else sent)


@given(lines=st.lists(st.binary(max_size=10).filter(lambda line: b"\n" not in line), max_size=6), cut=st.integers(1, 7))
def test_each_line_has_its_prefix_wherever_the_pipe_has_cut_it(lines: list[bytes], cut: int) -> None:
    screen = Screen()
    listener = Lines(screen, prefix="[X]", tag="cmd")
    text = b"".join(line + b"\n" for line in lines)
    for at in range(0, len(text), cut):
        listener.wrote(1, 1, text[at : at + cut])
    listener.ended(report())
    assert screen.all() == b"".join(b"[X] [stdout:cmd] " + line + b"\n" for line in lines)


def test_lines_of_two_runs_are_not_mixed() -> None:
    screen = Screen()
    listener = Lines(screen)
    for number, data in ((1, b"a"), (2, b"b"), (1, b"a\n"), (2, b"b\n")):
        listener.wrote(number, 1, data)
    assert screen.pieces == [(1, b"aa\n"), (1, b"bb\n")]


def test_a_line_without_an_end_is_passed_on_in_pieces_with_one_prefix() -> None:
    screen = Screen()
    listener = Lines(screen, prefix=">")
    for _ in range(3):
        listener.wrote(1, 1, b"x" * (LINE_BYTES_MAX + 1))
    listener.wrote(1, 1, b"y\nz")
    listener.ended(report())
    assert len(screen.pieces) >= 3
    assert screen.all() == b"> " + b"x" * (3 * LINE_BYTES_MAX + 3) + b"y\n> z\n"


@given(pieces=st.lists(st.binary(max_size=50), max_size=30))
def test_of_much_output_the_beginning_and_the_end_are_kept(pieces: list[bytes]) -> None:
    kept = Kept(size_max=100)
    for piece in pieces:
        kept.add(piece)
    whole = b"".join(pieces)
    assert kept.size == len(whole)
    assert kept.bytes() == (whole if len(whole) <= 100 else whole[:50] + b"\n" + whole[-50:])


def test_statistics_say_what_has_no_place_among_success_and_failure() -> None:
    tally = Tally(Stops())
    for fate in (Fate.OK, Fate.FAILED, Fate.CUT, Fate.RESTARTED):
        tally.add(Seen(fate), 0 if fate is Fate.OK else 1)
    text = statistics(tally, 61.2345, skipped=3).decode()
    assert "Total executions: 4\n   Successful: 1\n   Failed: 1\n   Cut off: 1\n   Restarted: 1\n   Skipped" in text
    assert "   Duration: 1m1.234s\n" in text
