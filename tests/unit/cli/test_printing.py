"""What the programs do when what they print cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
LOST = "cannot write output: No space left on device"

RPR = "import sys; from chronos.cli.rpr import main; main()"
CHRONOSCTL = "import sys; from chronos.cli.chronosctl import main; main()"
CHRONOS = "import sys; from chronos.cli.server import main; main(prog_name='chronos')"
EXPORT = """
import sys
from chronos.cli.chronosctl import downloading, run
downloading.whole_lines = lambda *_: [b"{}"] * 5
sys.exit(run(["export"]))
"""

PRINTING = [
    pytest.param(RPR, ["--version"], f"Error: {LOST}", id="rpr version"),
    pytest.param(RPR, ["interval", "--help"], f"Error: {LOST}", id="rpr help"),
    pytest.param(RPR, ["interval", "--every", "1s", "--dry-run", "--", "true"], f"Error: {LOST}", id="rpr preview"),
    pytest.param(RPR, ["plugins", "--help"], f"Error: {LOST}", id="rpr plugins"),
    pytest.param(CHRONOSCTL, ["--version"], f"chronosctl: {LOST}", id="chronosctl version"),
    pytest.param(CHRONOSCTL, ["schedule", "next", "@daily"], f"chronosctl: {LOST}", id="chronosctl schedule"),
    pytest.param(CHRONOS, ["--version"], f"chronos: {LOST}", id="chronos version"),
    pytest.param(CHRONOS, ["openapi"], f"chronos: {LOST}", id="chronos openapi"),  # more than is kept until the end
    pytest.param(EXPORT, [], "chronosctl: --to: - cannot be written: No space left on device.", id="chronosctl export"),
]

ENDS = """
import sys
from chronos.cli.rpr import root

def run(words):
    print("still waits to be printed", file=sys.stdout)
    return 130

root.run = run
root.main()
"""


def done(program: str, words: list[str], out: Path, err: Path | None = None) -> subprocess.CompletedProcess[str]:
    with out.open("w") as stdout, (err or Path(os.devnull)).open("w") as stderr:
        return subprocess.run(
            [sys.executable, "-c", program, *words],
            stdout=stdout,
            stderr=stderr if err else subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            timeout=60,
        )


pytestmark = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full: a device that takes nothing")


@pytest.mark.parametrize(("program", "words", "line"), PRINTING)
def test_what_cannot_be_printed_is_one_line_and_an_exit_code(program: str, words: list[str], line: str) -> None:
    ended = done(program, words, FULL)

    assert ended.stderr == f"{line}\n"
    assert ended.returncode == 1


@pytest.mark.parametrize(("program", "words", "line"), PRINTING)
def test_the_exit_code_says_so_though_nobody_can_be_told(program: str, words: list[str], line: str) -> None:
    assert done(program, words, FULL, FULL).returncode == 1


@pytest.mark.parametrize(("program", "words", "line"), PRINTING)
def test_a_reader_who_has_left_has_seen_enough(program: str, words: list[str], line: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        run = subprocess.run(
            [sys.executable, "-c", program, *words],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert "Traceback" not in run.stderr
    assert LOST not in run.stderr
    assert run.returncode == (program is CHRONOS)  # click has its own opinion


def test_what_cannot_be_printed_any_more_does_not_change_another_exit_code() -> None:
    ended = done(ENDS, [], FULL)

    assert ended.returncode == 130
    assert ended.stderr == ""


def test_an_error_is_told_by_its_exit_code_though_nobody_can_be_told() -> None:
    assert done(CHRONOSCTL, ["bogus"], FULL, FULL).returncode == 2
    assert done(RPR, ["bogus"], FULL, FULL).returncode == 2
