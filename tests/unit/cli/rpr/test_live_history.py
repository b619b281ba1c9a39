"""The runs that `--watch` remembers: the last ones, as much of each as may be kept, in words."""

from __future__ import annotations

from datetime import UTC

from chronos.cli.rpr.live import words
from chronos.cli.rpr.live.difference import difference
from chronos.cli.rpr.live.history import OUTPUT_BYTES_MAX, RUNS_MAX, History
from chronos.cli.rpr.live.watching import last_output
from chronos.repeater.capture import Capture
from chronos.repeater.engine import Report
from chronos.repeater.port import Moment, Run
from chronos.repeater.stops import Fate

NOON = 1_800_014_400.0  # 2027-01-15T12:00:00Z


def a_run(
    history: History, number: int = 1, *pieces: tuple[int, bytes], fate: Fate = Fate.OK, code: int = 0, reason: str = ""
) -> None:
    history.began(number, Moment(number, NOON + number))
    for stream, data in pieces:
        history.wrote(number, stream, data)
    run = Run(number, number, number + 0.25, NOON + number, ok=fate is Fate.OK, exit_code=code)
    history.ended(Report(run, fate, 1, reason, Capture(texts=False, fingerprint=False)))


def test_only_the_last_runs_are_kept_and_all_are_counted() -> None:
    history = History(None)
    for number in range(1, RUNS_MAX + 51):
        a_run(history, number, fate=Fate.FAILED if number % 2 else Fate.OK)
    snapshot = history.snapshot()
    assert [run.number for run in snapshot.runs] == list(range(51, RUNS_MAX + 51))
    assert (snapshot.ended, snapshot.failed) == (250, 125)


def test_of_a_long_output_the_beginning_and_the_end_are_kept_and_its_size_is_told() -> None:
    history = History(None)
    a_run(history, 1, (1, b"first\n" + b"x" * 300_000), (2, b"\nlast"))
    (run,) = history.snapshot().runs
    assert len(run.output) <= OUTPUT_BYTES_MAX + 1
    assert run.output.startswith(b"first\n")
    assert run.output.endswith(b"\nlast")
    assert "300,011 bytes, the middle is left out" in words.run_line(run, UTC)


def test_stdout_and_stderr_are_in_the_order_they_came_in() -> None:
    history = History(None)
    a_run(history, 1, (1, b"a\n"), (2, b"b\n"), (1, b"c\n"))
    assert history.snapshot().runs[0].output == b"a\nb\nc\n"


def test_a_run_that_is_on_is_there_with_what_it_has_printed_so_far() -> None:
    history = History(None)
    history.began(7, Moment(100.0, NOON))
    before = history.snapshot()
    history.wrote(7, 1, b"half")
    after = history.snapshot()
    assert after.present is not None
    assert (after.present.number, after.present.output) == (7, b"half")
    assert after.revision > before.revision
    assert words.present_line(after.present, 102.0) == "Run 7 · on for 2s"


def test_a_run_is_told_in_one_line_with_what_went_wrong() -> None:
    history = History(30.0)
    a_run(history, 1)
    a_run(history, 2, fate=Fate.FAILED, code=3)
    a_run(history, 3, fate=Fate.FAILED, reason="output matched failure pattern: x")
    a_run(history, 4, fate=Fate.TIMED_OUT, code=-15)
    a_run(history, 5, fate=Fate.CUT, code=-15)
    assert [words.run_line(run, UTC) for run in history.snapshot().runs] == [
        "Run 1 · 12:00:01 · 250ms · ok",
        "Run 2 · 12:00:02 · 250ms · failed, exit code 3",
        "Run 3 · 12:00:03 · 250ms · failed, output matched failure pattern: x",
        "Run 4 · 12:00:04 · 250ms · timed out, timeout after 30s",
        "Run 5 · 12:00:05 · 250ms · cut",
    ]


def test_the_state_says_what_comes_next() -> None:
    history = History(None)
    a_run(history, 1, fate=Fate.FAILED)
    snapshot = history.snapshot()
    plain = {"is_paused": False, "is_ending": False}
    assert words.state_line(snapshot, 2.34, **plain) == "next in 2.3s · 1 run, 1 failed"
    assert words.state_line(snapshot, None, **plain).startswith("waiting · ")
    assert words.state_line(snapshot, 2.34, is_paused=True, is_ending=False).startswith("PAUSED · ")
    assert words.state_line(snapshot, 2.34, is_paused=True, is_ending=True).startswith("ENDING · ")
    history.began(2, Moment(2.0, NOON))
    assert words.state_line(history.snapshot(), None, **plain).startswith("run 2 is on · ")


def test_changes_are_counted_in_words() -> None:
    assert words.changes(None) == ""
    assert words.changes(difference(["a"], ["a"])) == "unchanged"
    assert words.changes(difference(["a", "b"], ["x"])) == "1 of 1 lines changed, 1 gone"
    assert words.changes(difference(["a", "b"], ["a"])) == "0 of 1 lines changed, 1 gone"


def test_durations_are_as_long_as_a_person_reads() -> None:
    assert [words.took(each) for each in (0.000_012, 0.0123, 1.2345, 12.345, 75.4)] == [
        "12us", "12ms", "1.234s", "12.3s", "1m15s",
    ]  # fmt: skip


def test_what_is_left_on_the_terminal_is_the_last_output_made_safe() -> None:
    history = History(None)
    assert last_output(history) == b""
    a_run(history, 1, (1, b"\x1b[31mred\x1b[0m\x07\n"))
    assert last_output(history) == b"red\\x07\n"
