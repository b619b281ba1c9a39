"""Many runs and much output: what is left behind, and how much memory it takes. `make proof` does the whole dose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from tests.acceptance.rpr.typed import environment, measured

PROOF = bool(os.environ.get("CHRONOS_PROOF"))
MEMORY_KIB_MAX = 64 * 1024
RUNS_S = 400.0
# Repeats in this very process, and says how it was before and after.
LOOK = """
import json, os, sys
from chronos.cli.rpr import run
def look():
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    return {"fds": len(os.listdir("/proc/self/fd")), "children": len(children), "kib": int(status["VmRSS"].split()[0])}
warm = run(["count", "--times", "50", "--quiet", "--", "true"])
before = look()
code = run(sys.argv[1:])
print(json.dumps({"code": code, "before": before, "after": look()}), file=sys.stderr)
"""


def looked(*args: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *args], capture_output=True, timeout=RUNS_S, check=True, env=environment()
    )
    return json.loads(done.stderr.splitlines()[-1])


@pytest.mark.timeout(RUNS_S + 20)
def test_ten_thousand_runs_leave_no_descriptor_no_zombie_and_no_memory() -> None:
    told = looked("count", "--times", "10000" if PROOF else "300", "--quiet", "--", "true")
    assert told["code"] == 0
    assert told["after"]["fds"] == told["before"]["fds"]
    assert told["after"]["children"] == 0
    assert told["after"]["kib"] < told["before"]["kib"] + 2_048


def test_much_output_passes_within_bounded_memory() -> None:
    megabytes = 1000 if PROOF else 60
    line = measured("c", "-t", "1", "--", "head", "-c", str(megabytes * 1_000_000), "/dev/zero")
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert process.stdout is not None
    size = 0
    while piece := process.stdout.read(1_000_000):
        size += len(piece)
    _, err = process.communicate(timeout=60)
    assert size == megabytes * 1_000_000
    assert int(err) < MEMORY_KIB_MAX
