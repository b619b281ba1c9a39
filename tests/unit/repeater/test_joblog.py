from __future__ import annotations

from pathlib import Path

import pytest

from chronos.errors import Invalid
from chronos.repeater.joblog import HEADER, Joblog, Past


def line(number: int, started_at: str, exit_value: int, signal: int = 0) -> str:
    return f"{number}\t:\t{started_at}\t0.100\t0\t0\t{exit_value}\t{signal}\tmake test\n"


def resumed(folder: Path, text: str) -> Joblog:
    path = folder / "log"
    path.write_text(HEADER + text)
    return Joblog(str(path), ("make", "test"), resume=True)


def test_the_runs_of_an_earlier_repetition_can_be_read_back(tmp_path: Path) -> None:
    text = line(1, "1700000000.125", 0) + line(2, "1700000060.000", 7) + line(3, "1700000120.000", 0, signal=9)
    with resumed(tmp_path, text) as joblog:
        assert joblog.last_number == 3
        assert joblog.past() == [Past(1700000000.125, ok=True), Past(1700000060.0, ok=False), Past(1700000120.0, False)]


@pytest.mark.parametrize("started_at", ["yesterday", "nan", "inf", "-1", "1e300"])
def test_a_line_that_makes_no_sense_is_passed_over(tmp_path: Path, started_at: str) -> None:
    with resumed(tmp_path, line(1, started_at, 0) + line(2, "1700000060.000", 0)) as joblog:
        assert joblog.past() == [Past(1700000060.0, ok=True)]


def test_a_line_that_a_crash_has_cut_off_is_passed_over(tmp_path: Path) -> None:
    with resumed(tmp_path, line(1, "1700000000.000", 0) + "2\t:\t17000") as joblog:
        assert joblog.last_number == 1
        assert joblog.past() == [Past(1700000000.0, ok=True)]


def test_of_a_long_log_only_the_end_is_read(tmp_path: Path) -> None:
    with resumed(tmp_path, "".join(line(n, f"{n}.000", 0) for n in range(1, 40_001))) as joblog:
        past = joblog.past()
    assert past[-1] == Past(40_000.0, ok=True)
    assert 20_000 < len(past) < 40_000


def test_a_new_log_has_no_past(tmp_path: Path) -> None:
    with Joblog(str(tmp_path / "log"), ("true",), resume=True) as joblog:
        assert joblog.past() == []


def test_a_log_with_lines_is_only_gone_on_with_when_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(HEADER + line(1, "1700000000.000", 0))
    with pytest.raises(Invalid, match="go on with --resume"):
        Joblog(str(path), ("true",), resume=False)
