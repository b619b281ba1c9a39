"""`chronos verify` as it is typed: words, JSON, exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from tests.architecture.source import ROOT
from tests.unit.verify.small import a_small_export, begin_s

from chronos.cli.verify import verify
from chronos.verify.report import MEANS, Wrong

PAGE = (ROOT / "docs" / "reference" / "verify.md").read_text()


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "export.ndjson"
    path.write_bytes(b"".join(a_small_export()))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(verify, [str(argument) for argument in arguments])


def without(path: Path, text: bytes) -> Path:
    """Return a copy without the first line that holds `text`."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines.remove(next(line for line in lines if text in line))
    copy = path.with_name("copy.ndjson")
    copy.write_bytes(b"".join(lines))
    return copy


def test_a_good_export_is_verified_and_its_head_is_shown_for_keeping(export: Path) -> None:
    result = run(export, "-v")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("verified: ")
    assert "planned       120" in result.output
    assert "default/minutely (" in result.output
    head = result.output.split()[-1]
    assert run(export, "--head", head).exit_code == 0
    assert run(export, "--head", head.upper()).exit_code == 0


def test_a_head_that_is_not_among_the_seals_is_a_problem(export: Path) -> None:
    result = run(export, "--head", "ab" * 32)
    assert result.exit_code == 1
    assert "head-unknown" in result.output


def test_a_record_that_was_taken_out_is_named_with_job_and_instant(export: Path) -> None:
    at = begin_s() + 60 * 7
    copy = without(export, f'"scheduled_s":{at},'.encode())
    result = run(copy, "-o", "json", "-v")
    assert result.exit_code == 1
    said: dict[str, Any] = json.loads(result.output)
    assert said["verified"] is False
    missing = [problem for problem in said["problems"] if problem["kind"] == "instant-missing"]
    assert [(problem["job"], problem["instant"]) for problem in missing] == [
        ("default/minutely", "2027-01-15T08:07:00Z")
    ]
    assert said["counts"]["unaccounted"] == 1
    counts = said["counts"]
    accounted = sum(counts["ended"].values()) + sum(counts["skipped"].values()) + counts["gone"] + counts["unaccounted"]
    assert counts["planned"] == accounted
    shown = run(copy, "-n", "1").output
    assert f"and {said['problems_total'] - 1} more" in shown


def test_only_the_instants_asked_for_are_accounted_for(export: Path) -> None:
    result = run(export, "--since", "2027-01-15T08:10:00Z", "--until", "2027-01-15T10:19:00+01:00", "-o", "json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.output)
    assert (said["from"], said["to"]) == ("2027-01-15T08:10:00Z", "2027-01-15T09:19:00Z")
    assert said["counts"]["planned"] == 70


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "is empty"),
        (b"hello\n", "is no export"),
        (b'{"type":"seal","format":1,"segment":1,"data":{}}\n', "does not begin with a header"),
        (b'{"type":"header","format":2}\n', "format 2"),
        (b'{"type":"header","format":1,"proof":false}\n', "made without"),
    ],
)
def test_what_cannot_be_read_is_said_on_stderr_with_exit_code_2(tmp_path: Path, text: bytes, why: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(text)
    result = run(path)
    assert result.exit_code == 2
    assert why in result.stderr
    assert result.stdout == ""


def test_a_file_that_is_not_there_and_an_instant_that_is_none_are_said_so(tmp_path: Path, export: Path) -> None:
    assert run(tmp_path / "nowhere").exit_code == 2
    result = run(export, "--since", "yesterday")
    assert result.exit_code == 2
    assert "write it as 2027-01-01T09:00:00Z" in result.stderr


def test_the_reference_lists_every_kind_of_problem_and_every_option() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", PAGE.partition("## Kinds")[2], re.MULTILINE))
    assert rows == {kind.value: MEANS[kind] for kind in Wrong}
    options = [
        option for parameter in verify.params if isinstance(parameter, click.Option) for option in parameter.opts
    ]
    assert [option for option in options if f"`{option}" not in PAGE] == []
