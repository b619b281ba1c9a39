"""The page's figures are those of the results, and nothing that did not run looks as if it had."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import table

OWN = (
    '{"bench": "throughput", "figure": 9876.5, "unit": "executions/s", "settings": {"rate": 10000, "jobs": 0}, '
    '"details": {"lateness_ms": {"p50": 1.5, "p99": 8.25}, "cpu_us_per_execution": {"server": 50.0, "sink": 10.0}}, '
    '"machine": {"cpus": 2}, "versions": {"python": "3.11"}, '
    '"pace": {"loop_ms": [5.5, 10.25], "stolen_percent": 3.0}}'
)
PEER = (
    '{"peer": "other", "shape": "burst", "jobs": 5, "seconds": 9, "setup": "as it is", "survives": "nothing", '
    '"expected": 5, "arrived": 4, "arrived_twice": 1, "a_second": 2.5, "lateness_ms": {"p50": 1, "p99": 2, "max": 3}, '
    '"cpu_us_per_execution": 700, "cpu_s": {"driver": 0.5, "redis": 2, "idle": 0.0}, "versions": {"other": "1.2"}, '
    '"fsync_ms": 0.5, "others_cores": 0.25}'
)
ABSENT = '{"peer": "absent", "shape": "burst", "jobs": 5, "seconds": 9, "survives": "all", "not_run": "no a|b here"}'
COMPARED = f'{{"peers": [{PEER}, {ABSENT}], "machine": {{"cpus": 4}}}}'


def parts_of(*lines: str) -> dict[str, str]:
    return table.parts(table.rows_of("\n".join(lines)), "2027-01-01")


def test_every_result_is_a_row_and_the_last_of_two_counts() -> None:
    older = OWN.replace("9876.5", "1.5")
    made = parts_of("make: a note", older, OWN, COMPARED)
    assert made["measured"].splitlines()[0] == "Measured on 2027-01-01: python 3.11, cpus 2."
    assert (
        "| `throughput` | rate 10000 | 9,876.5 executions/s | 1.5 | 8.25 |  | 50 | 5.5 to 10.25; 3 % |"
        in made["measured"]
    )
    assert "1.5 executions/s" not in made["measured"]
    first = "Measured on 2027-01-01: cpus 4; an fsync took 0.5 to 0.5 ms before the runs."
    assert made["peers"].splitlines()[0] == first
    assert "| other | 4 of 5, 1 twice | 2.5 | 1 | 2 | 3 | 700 | driver 0.5, redis 2 | 0.25 |" in made["peers"]


def test_each_peer_says_once_what_it_is_and_each_work_has_a_table_of_its_own() -> None:
    spread = COMPARED.replace('"burst", "jobs": 5', '"spread", "jobs": 18')
    text = parts_of(COMPARED, spread)["peers"]
    assert text.count("| other | other 1.2 | as it is | nothing |") == 1
    assert "**Burst**: 5 jobs, all due at one instant:" in text
    assert "**Spread**: 18 one-off jobs over 9 s, 2 a second:" in text
    assert text.count("| other | 4 of 5") == 2


def test_what_did_not_run_says_why_and_has_no_figure() -> None:
    [row] = [line for line in parts_of(ABSENT)["peers"].splitlines() if "not run" in line]
    assert row == "| absent | not run: no a\\|b here |  |  |  |  |  |  |  |"
    failed = parts_of('{"bench": "api", "figure": null}')["measured"]
    assert "| `api` |  | failed |  |  |  |  |  |" in failed


def test_a_lateness_that_nobody_knows_is_no_number() -> None:
    unknown = PEER.replace('{"p50": 1, "p99": 2, "max": 3}', "{}")
    assert "| other | 4 of 5, 1 twice | 2.5 | unknown | unknown | unknown | 700 |" in parts_of(unknown)["peers"]


def test_only_what_stands_between_the_marks_of_a_told_part_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    results.write_text(COMPARED)
    (begin, end), own = table.marks("peers"), "\n".join(table.marks("measured"))
    page.write_text(f"before\n{own}\n{begin}\nold\n{end}\nafter\n")
    monkeypatch.setattr("sys.argv", ["table.py", str(results), "--page", str(page)])
    assert table.main() == 0
    text = page.read_text()
    assert text.startswith(f"before\n{own}\n{begin}\nMeasured on ")
    assert text.endswith(f"\n{end}\nafter\n")
    assert "old" not in text
    page.write_text("no marks")
    assert table.main() == 2
    assert page.read_text() == "no marks"
