"""Every benchmark takes part in `make bench` and tells the same things."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from bench.__main__ import SHORT, row_of, table
from bench.pace import Look, between, look
from bench.report import Report, percentiles
from tests.architecture.source import ROOT

PARTS = {
    "__main__",
    "pace",
    "report",
    "rig",
    "sink",
    "answerer",
    "asker",
    "table",
    "loopback",
    "trio",
    "picture",
    "showcase",
    "scaling",
}
SCRIPTS = sorted(path.stem for path in (ROOT / "bench").glob("*.py") if path.stem not in PARTS)
# The two that are done in a second; the others differ in what they measure and not in what they tell.
QUICK = {
    "log_append": ["--entries", "3"],
    "cron_next": ["--triples", "200", "--peer-triples", "2"],
}


def test_every_script_is_run_by_make_bench() -> None:
    assert sorted(SHORT) == SCRIPTS


@pytest.mark.parametrize("name", sorted(QUICK))
def test_the_last_line_is_one_object_with_everything_a_later_run_is_compared_with(name: str) -> None:
    command = [sys.executable, "-m", f"bench.{name}", "--json", *QUICK[name]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    told = msgspec.json.decode(done.stdout.strip().rpartition("\n")[2])
    assert set(told) == {*Report.__dataclass_fields__, "versions", "machine", "pace"}
    assert told["bench"] == name
    assert told["figure"] > 0
    assert told["cpu_s"]
    assert told["settings"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_tells_through_a_report(name: str) -> None:
    text = Path(ROOT / "bench" / f"{name}.py").read_text()
    assert "tell(" in text
    assert "parser(__doc__)" in text


def test_a_figure_comes_with_how_fast_the_machine_was() -> None:
    before, after = Look(at_s=10.0, loop_ms=5.5, stolen_s=1.0), Look(at_s=20.0, loop_ms=10.5, stolen_s=3.0)
    share = 100 * 2.0 / (10.0 * (os.cpu_count() or 1))
    assert between(before, after) == {"loop_ms": [5.5, 10.5], "stolen_percent": round(share, 1)}
    unknown = between(before._replace(stolen_s=None), after)
    assert unknown == {"loop_ms": [5.5, 10.5]}, "what the system does not say is left out"
    now = look()
    assert now.loop_ms > 0


def test_percentiles_are_of_the_values_there_are() -> None:
    assert percentiles([3.0]) == {"p50": 3.0, "p90": 3.0, "p99": 3.0, "max": 3.0}
    assert percentiles([float(n) for n in range(1, 101)])["p99"] == 100.0


def test_a_budget_is_kept_from_the_side_it_is_on() -> None:
    assert Report(bench="a", figure=2, unit="ms", budget=2).is_within_budget
    assert not Report(bench="a", figure=3, unit="ms", budget=2).is_within_budget
    assert not Report(bench="a", figure=1, unit="/s", better="higher", budget=2).is_within_budget


def test_a_benchmark_that_fails_is_a_row_of_its_own() -> None:
    good = {"bench": "a", "figure": 1.5, "unit": "ms", "budget": 2.0, "cpu_s": {"x": 1.0}, "percentiles": {"p50": 1.0}}
    text = table([row_of(good), row_of({"bench": "b", "figure": None})])
    assert text.splitlines() == ["a  1.5 ms  2  1      1.00 x", "b  failed"]
