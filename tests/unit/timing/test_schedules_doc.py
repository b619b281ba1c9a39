"""The examples of the reference are true."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from chronos.timing.cron import MACROS
from chronos.timing.duration import parse_duration
from chronos.timing.schedule import parse_schedule

DOCS = Path(__file__).parents[3] / "docs"
REFERENCE = (DOCS / "reference" / "schedules.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its two head lines."""
    section = REFERENCE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("row", rows("Examples"), ids=lambda row: row[0])
def test_an_example_of_the_reference_runs_when_it_says(row: list[str]) -> None:
    text, zone, after, expected = row
    schedule = parse_schedule(text.strip("`"), timezone=zone, anchor=0)
    begin = datetime.fromisoformat(after)
    found = islice(schedule.between(begin, datetime(2400, 1, 1, tzinfo=UTC)), 3)
    texts = [f"{run:%Y-%m-%dT%H:%M:%S}Z" if run.second else f"{run:%Y-%m-%dT%H:%M}Z" for run in found]
    assert texts == expected.split(", ")


def test_the_macros_of_the_reference_are_all_there_are() -> None:
    documented = {}
    for macros, stands_for in rows("Macros"):
        for macro in re.findall(r"`(@\w+)`", macros):
            documented[macro] = stands_for.strip("`")
    assert documented == MACROS


def test_every_way_to_write_a_field_parses() -> None:
    section = REFERENCE.split("In every field:", 1)[1].split("In the day fields:", 1)[0]
    for written in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE):
        for field in re.findall(r"`([^`]+)`", written):
            field = field.replace("a-b", "1-9").replace("/n", "/15")
            assert parse_schedule(f"{field} * * * *").describe()
    section = REFERENCE.split("In the day fields:", 1)[1].split("**Both", 1)[0]
    for written in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE):
        for field in re.findall(r"`([^`]+)`", written):
            weekday = "#" in field or re.fullmatch(r"\w+L", field)
            assert parse_schedule(f"0 0 * * {field}" if weekday else f"0 0 {field} * *").describe()


def test_the_durations_of_the_reference_parse() -> None:
    section = REFERENCE.split("## Durations\n", 1)[1].split("Units", 1)[0]
    found = re.findall(r"`([^`]+)`", section)
    assert len(found) == 4
    assert all(parse_duration(text) > 0 for text in found)


def test_the_trap_of_the_explanation_is_as_told() -> None:
    assert "24 times" in (DOCS / "explanation" / "daylight-saving.md").read_text(encoding="utf-8")
    midnights = [int(datetime(2027, 11, day, hour, tzinfo=UTC).timestamp()) for day, hour in ((7, 4), (8, 5))]
    counts = [
        parse_schedule(text, timezone="America/New_York").count_s(midnights[0] - 1, midnights[1] - 1)
        for text in ("0 0-23 * * *", "0 * * * *", "*/15 * * * *")
    ]
    assert counts == [24, 25, 100]
