"""The page's figures are those of the results, and nothing that did not run looks as if it had."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import table

OWN = (
    '{"bench": "throughput", "figure": 9876.5, "unit": "executions/s", "settings": {"rate": 10000, "jobs": 0}, '
    '"details": {"lateness_ms": {"p50": 1.5, "p99": 8.25}, "cpu_us_per_execution": {"server": 50.0, "sink": 10.0}}, '
    '"machine": {"cpus": 2}, "versions": {"python": "3.11"}}'
)
PEER = (
    '{"peer": "other", "shape": "burst", "jobs": 5, "seconds": 9, "survives": "nothing", "expected": 5, "arrived": 4, '
    '"arrived_twice": 1, "a_second": 2.5, "lateness_ms": {"p50": 1, "p99": 2, "max": 3}, "cpu_us_per_execution": 700}'
)
ABSENT = '{"peer": "absent", "shape": "burst", "jobs": 5, "seconds": 9, "survives": "all", "not_run": "no a|b here"}'


def test_every_result_is_a_row_and_the_last_of_two_counts() -> None:
    older = OWN.replace("9876.5", "1.5")
    text = table.tables(table.rows_of("\n".join(["make: a note", older, OWN, PEER, ABSENT])), "2027-01-01")
    assert text.splitlines()[0] == "Measured on 2027-01-01: python 3.11, cpus 2."
    assert "| `throughput` | rate 10000 | 9,876.5 executions/s | 1.5 | 8.25 |  | 50 |" in text
    assert "1.5 executions/s" not in text
    assert "| other | burst, 5 jobs, 9 s | 4 of 5, 1 twice | 2.5 | 1 | 2 | 3 | 700 | nothing |" in text


def test_what_did_not_run_says_why_and_has_no_figure() -> None:
    [row] = [line for line in table.tables(table.rows_of(ABSENT), "2027-01-01").splitlines() if "absent" in line]
    assert row == "| absent | burst, 5 jobs, 9 s | not run: no a\\|b here |  |  |  |  |  |  |"
    failed = table.tables(table.rows_of('{"bench": "api", "figure": null}'), "2027-01-01")
    assert "| `api` |  | failed |  |  |  |  |" in failed


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    results.write_text(PEER)
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    monkeypatch.setattr("sys.argv", ["table.py", str(results), "--page", str(page)])
    assert table.main() == 0
    text = page.read_text()
    assert text.startswith(f"before\n{table.BEGIN}\nMeasured on ")
    assert text.endswith(f"\n{table.END}\nafter\n")
    assert "old" not in text
    page.write_text("no marks")
    assert table.main() == 2
    assert page.read_text() == "no marks"
