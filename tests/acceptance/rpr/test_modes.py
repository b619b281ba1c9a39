"""Modes as people type them, where the rows do not ask."""

from __future__ import annotations

import time
from pathlib import Path

from tests.acceptance.rpr.typed import rpr


def test_adaptive_says_what_it_has_learned_with_jitter_too() -> None:
    done = rpr(*["adaptive", "-b", "100ms", "-m", "-t", "2", "--jitter", "20%", "--", "true"])
    assert done.code == 0
    assert [line.partition(", ")[2] for line in done.lines] == [
        "Success=67.2%, Circuit=CLOSED",
        "Success=76.0%, Circuit=CLOSED",
    ]


def test_learn_goes_on_with_what_the_joblog_knows(tmp_path: Path) -> None:
    log, now = tmp_path / "log", time.time()
    days_of_failure = [now - day * 86_400 + minute * 60 for day in (3, 2, 1) for minute in range(-20, 30, 2)]
    lines = [f"{n}\t:\t{at:.3f}\t0.1\t0\t0\t1\t0\techo x" for n, at in enumerate(days_of_failure, 1)]
    header = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"
    log.write_text("\n".join([header, *lines]) + "\n")

    knowing = rpr(
        "learn", "-b", "10ms", "-f", "1s", "--jitter", "1%", "--joblog", str(log), "--resume", "--", "echo", "x"
    )
    unknowing = rpr("learn", "-b", "10ms", "-t", "3", "--", "echo", "x")

    assert (knowing.code, knowing.lines) == (0, ["x"])
    assert (unknowing.code, len(unknowing.lines)) == (0, 3)
