"""How `rpr` leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENDS = """
import sys
from chronos.cli.rpr import root

def run(words):
    print("still waits to be printed", file=sys.stdout)
    return 130

root.run = run
root.main()
"""
FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full: a device that takes nothing")
def test_what_cannot_be_printed_any_more_does_not_change_the_exit_code() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with FULL.open("w") as nowhere:
        line = [sys.executable, "-c", ENDS]
        done = subprocess.run(line, stdout=nowhere, stderr=subprocess.PIPE, env=environment, timeout=60)

    assert done.returncode == 130
    assert done.stderr == b""
