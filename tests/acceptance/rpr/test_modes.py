"""Modes as people type them, where the rows do not ask."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest
from tests.acceptance.fences import Fence, commands, fences
from tests.acceptance.rpr.typed import rpr

from chronos.cli.chronosctl.jobfiles import parse_jobs


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


@pytest.mark.parametrize(
    ("line", "head", "starts"),
    [
        ("exp -bd 1s -a 9 -md 5s", "fails", ["0s", "1s", "3s", "7s", "12s"]),
        ("fib -bd 1s -a 4", "fails", ["0s", "1s", "2s", "4s"]),
        ("lin -inc 1s -a 4 --next 2", "fails", ["0s", "1s"]),
        ("poly -bd 1s -a 4", "fails", ["0s", "1s", "5s", "14s"]),
        ("dj -bd 1s -a 2", "fails", ["0s", "1s"]),
        ("delays --delays 1s,10m", "fails", ["0s", "1s", "10m1s"]),
        ("rl -r 3/1m --next 4", "succeeds", ["0s", "0s", "0s", "1m"]),
        ("adaptive -b 1s", "succeeds", ["0s", "800ms", "1.4s", "1.8s", "2s"]),
        ("learn -b 1m --tz UTC --next 3", "succeeds", ["0s", "1m", "2m"]),
        ("chaos -b 1m --intensity 0 --next 3", "succeeds", ["0s", "1m", "2m"]),
        ("genetic -b 1m --next 2", "succeeds", ["0s", "1m"]),
    ],
)
def test_a_dry_run_shows_the_starts_of_modes_that_go_by_their_runs_too(line: str, head: str, starts: list[str]) -> None:
    done = rpr(*line.split(), "--dry-run", "--", "false")
    assert done.code == 0
    assert done.lines[2] == f"Starts, if each run {head} at once:"
    assert [each.removeprefix("  after ").replace("1m0s", "1m") for each in done.lines[3:]] == starts


@pytest.mark.parametrize(
    ("words", "wall"),
    [
        (["--cron", "TZ=Asia/Tokyo 0 9 * * *"], "T09:00:00+09:00 (Asia/Tokyo)"),
        (["--cron", "0 9 * * *", "--tz", "Asia/Tokyo"], "T09:00:00+09:00 (Asia/Tokyo)"),
        (["--cron", "0 9 * * *", "--tz", "UTC"], "T09:00:00+00:00 (UTC)"),
    ],
)
def test_a_dry_run_of_cron_shows_the_wall_of_its_zone(words: list[str], wall: str) -> None:
    done = rpr("cron", *words, "--dry-run", "--next", "2", "--", "true")
    assert done.code == 0
    assert [line.strip().partition("  ")[0][-len(wall) :] for line in done.lines[3:]] == [wall, wall]


def test_an_instant_that_is_over_is_refused() -> None:
    done = rpr("cron", "--cron", "@at 2020-01-01T00:00:00Z", "--", "true")
    assert (done.code, done.out) == (2, "")
    assert "--cron has no instant left" in done.err


EXAMPLES = [fence for fence in fences() if fence.page == "docs/reference/rpr-modes.md" and fence.kind == "console"]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_the_examples_of_the_reference_print_what_stands_there(example: Fence) -> None:
    [command] = commands(example.text)
    program, *words = shlex.split(command)
    assert program == "rpr"
    assert rpr(*words).out == example.text.partition("\n")[2]


def test_the_reference_has_examples() -> None:
    assert len(EXAMPLES) >= 4


def test_a_job_file_is_printed_and_nothing_is_run(tmp_path: Path) -> None:
    done = rpr("interval", "-e", "90s", "-t", "2", "--to-job", "sync", "--", "touch", "ran", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "--times cannot be kept" in done.err
    done = rpr("interval", "-e", "90s", "--to-job", "sync", "--", "touch", "ran", cwd=tmp_path)
    assert done.code == 0
    [job] = parse_jobs(done.out, "stdout")
    assert (job.spec.name, job.spec.schedule) == ("sync", "@every 1m30s")
    assert list(tmp_path.iterdir()) == []
