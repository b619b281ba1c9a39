"""The joblog: GNU parallel's format, gone on with after a crash, never written over."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos.errors import Invalid
from chronos.repeater.capture import Capture
from chronos.repeater.engine import Report
from chronos.repeater.joblog import HEADER, Joblog
from chronos.repeater.port import Run
from chronos.repeater.stops import Fate


def report(number: int, exit_code: int = 0, fate: Fate = Fate.OK) -> Report:
    output = Capture(texts=False, fingerprint=False)
    output.add(1, b"12345")
    return Report(Run(number, 10.0, 11.5, 1_700_000_000.25, not exit_code, exit_code), fate, 1, "", output)


def fields(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()[1:]]


def test_a_run_is_a_line_that_parallel_would_have_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Joblog(str(path), ("echo", "a b", "tab\there"), resume=False) as log:
        log.ended(report(1))
        log.ended(report(2, 7, Fate.FAILED))
        log.ended(report(3, -9, Fate.FAILED))
        log.ended(report(4, -15, Fate.TIMED_OUT))
    assert path.read_text().startswith(HEADER)
    assert fields(path)[0] == [
        "1", ":", "1700000000.250", "1.500", "0", "5", "0", "0", "echo 'a b' 'tab here'",
    ]  # fmt: skip
    assert [(line[6], line[7]) for line in fields(path)] == [("0", "0"), ("7", "0"), ("0", "9"), ("124", "0")]


def test_it_goes_on_after_the_last_whole_line_and_leaves_a_torn_one_behind(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Joblog(str(path), ("x",), resume=True) as log:
        assert log.last_number == 0
        log.ended(report(41))
    with path.open("a") as file:
        file.write("42\t:\t17000")
    with Joblog(str(path), ("x",), resume=True) as log:
        assert log.last_number == 41
        log.ended(report(42))
    with Joblog(str(path), ("x",), resume=True) as log:
        assert log.last_number == 42


def test_a_header_alone_is_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(HEADER)
    with Joblog(str(path), ("x",), resume=True) as log:
        assert log.last_number == 0


@pytest.mark.parametrize(
    ("text", "resume", "message"),
    [
        (HEADER, False, "go on with --resume"),
        ("something else\n", True, "is no joblog"),
        (HEADER + "no line of ours\n" * 100_000, True, "no line that can be read"),
    ],
)
def test_what_cannot_be_gone_on_with_is_left_as_it_is(text: str, resume: bool, message: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(Invalid, match=message):
        Joblog(str(path), ("x",), resume=resume)
    assert path.read_text() == text
