"""What `rpr` promises, row by row: each row is typed as somebody would type it.

Instants are read from the commands' own clock. Lower bounds are exact, because nothing may start early; how late
something is depends on the machine, so that there are no upper bounds but generous ones.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.acceptance.rpr.typed import PROGRAM, Done, a_line, measured, raw, rpr, running

from chronos.cli.rpr.subcommands import SUBCOMMANDS

LATE_S = 20.0
LATE_FIRST_S = 0.2
EARLY_MS = 2.0  # two readings of a clock by two processes


def sure(row: int, line: str, code: int, *, out: str | None = None, err: str = "") -> object:
    """A row whose outcome does not depend on time. `out`: all of stdout; `err`: found in stderr."""
    return pytest.param(line, code, out, err, id=f"row {row}: {line}")


SURE = [
    sure(4, "", 2, out="", err="subcommand required"),
    sure(5, "bogus -- true", 2, out="", err="bogus"),
    sure(7, "interval -- echo x", 2, out="", err="--every is required"),
    sure(8, "i -e 30x -- true", 2, out="", err="30x"),
    sure(9, "i -e 1s", 2, out="", err="command required"),
    sure(10, "i -e 1s --", 2, out="", err="command required"),
    sure(11, "i -e 1s echo hi", 2, out="", err="unknown flag `echo`"),
    sure(12, "c -t 3 -- echo test", 0, out="test\ntest\ntest\n"),
    sure(13, "cnt --times 3 -- echo test", 0, out="test\ntest\ntest\n"),
    sure(15, "c -t 0 -- true", 2, out="", err="--times is required"),
    sure(16, "c -t -5 -- true", 2, out="", err="--times must be more than 0"),
    sure(17, "c -t abc -- true", 2, out="", err="--times: `abc` is not a whole number"),
    sure(18, "c -t 2 -- false", 1, out="", err="some commands failed"),
    sure(19, "c -t 3 -- sh -c 'exit 7'", 1, err="exit code 7"),
    sure(20, "c -t 1 -- nonexistent-cmd", 1, out="", err="nonexistent-cmd: command not found"),
    sure(23, "i -e30s -t1 -- true", 0, out=""),
    sure(24, "i --every=50ms --times=2 -- echo x", 0, out="x\nx\n"),
    sure(27, "i -e 50ms -t 2 -f 10s -- echo x", 0, out="x\nx\n"),
    sure(31, "c -t 2 -q -- echo x", 0, out=""),
    sure(37, "c -t 2 -o '[X]' -- echo a", 0, out="[X] a\n[X] a\n"),
    sure(38, r"c -t 1 -- printf '  a\n'", 0, out="  a\n"),
    sure(39, "c -t 1 -- sh -c 'echo e >&2'", 0, out="", err="e\n"),
    sure(40, "c -t 1 -q -s -- true", 2, out="", err="--quiet and --stream exclude each other"),
    sure(40, "c -t 1 -q -v -- true", 2, out="", err="exclude each other"),
    sure(40, "c -t 1 --stats-only -s -- true", 2, out="", err="exclude each other"),
    sure(40, "c -t 1 --stats-only -v -- true", 2, out="", err="exclude each other"),
    sure(40, "c -t 1 --stats-only -q -- true", 2, out="", err="exclude each other"),
    sure(41, "c -t 3 --success-pattern ok -- sh -c 'echo ok; exit 1'", 0, out="ok\nok\nok\n"),
    sure(42, "c -t 3 --failure-pattern (?i)error -- sh -c 'echo ERROR; exit 0'", 1, err="3 of 3 failed"),
    sure(
        43,
        "c -t 1 --success-pattern completed --failure-pattern error -- echo 'completed with error'",
        1,
        out="completed with error\n",
    ),
    sure(44, "c -t 1 --case-insensitive --success-pattern SUCCESS -- sh -c 'echo success; exit 1'", 0),
    sure(45, "c -t 1 --success-pattern nope -- true", 0, out=""),
    sure(46, "c -t 1 --success-pattern [bad -- true", 2, out="", err="success pattern `[bad`"),
    sure(47, "c -t 1 --failure-pattern warn -- sh -c 'echo warn >&2'", 1, out="", err="warn\n"),
    sure(59, "exp -- true", 2, out="", err="--base-delay is required"),
    sure(60, "exp --base-delay 1s --multiplier 1 -- true", 2, out="", err="--multiplier must be greater than 1"),
    sure(61, "exp --base-delay 1s --multiplier 11 -- true", 2, out="", err="at most 10"),
    sure(62, "exp --base-delay 5s --max-delay 1s -- true", 2, out="", err="--max-delay must not be shorter"),
    sure(63, "poly --base-delay 1s --exponent 15 -- true", 2, out="", err="--exponent must be greater than 0"),
    sure(67, "rl -r foo -- true", 2, out="", err="--rate is written N/PERIOD"),
    sure(67, "rl -r 10/ -- true", 2, out="", err="--rate is written N/PERIOD"),
    sure(67, "rl -r 1/2/3 -- true", 2, out="", err="--rate is written N/PERIOD"),
    sure(68, "rl -r 0/1h -- true", 2, out="", err="--rate allows between 1"),
    sure(77, "a -b 1m -- true", 2, out="", err="--base-interval must lie between"),
    sure(78, "a -b 1s --min-interval 2s --max-interval 1s -- true", 2, out="", err="--min-interval must be shorter"),
    sure(78, "a -b 1s --slow-threshold 0.5 -- true", 2, out="", err="--slow-threshold must be greater than 1"),
    sure(78, "a -b 1s --fast-threshold 1.5 -- true", 2, out="", err="--fast-threshold must be greater than 0"),
    sure(80, "la -b 200ms --target-cpu 150 -- true", 2, out="", err="--target-cpu must be greater than 0"),
    sure(80, "la -b 200ms --target-memory -10 -- true", 2, out="", err="--target-memory must be greater than 0"),
    sure(81, "la -b 10ms -t 2 -- echo x", 0, out="x\nx\n"),
    sure(71, "cr --cron '60 * * * *' -- true", 2, out="", err="60 is not between 0 and 59"),
    sure(72, "cr --cron '* * *' -- true", 2, out="", err="--cron cannot be used"),
    sure(72, "cr --cron @reboot -- true", 2, out="", err="--cron cannot be used"),
    sure(73, "cr --cron @daily --tz Mars/X -- true", 2, out="", err="There is no time zone `Mars/X`"),
    sure(94, "c -t 1 -- echo -- a", 0, out="-- a\n"),
    sure(95, "c -t 1 -- sh -c cat", 0, out=""),
]


@pytest.mark.parametrize(("line", "code", "out", "err"), SURE)
def test_a_row_ends_as_it_should(line: str, code: int, out: str | None, err: str) -> None:
    done = rpr(*shlex.split(line))
    assert done.code == code, done.err
    assert out is None or done.out == out
    assert err in done.err
    assert done.err.count("\n") <= 1 or code != 2, "one line says what is wrong"


@pytest.mark.parametrize("flag", ["--version", "-v"], ids=["row 1", "row 2"])
def test_row_1_and_2_the_version_is_said(flag: str) -> None:
    done = rpr(flag)
    assert done.code == 0
    assert re.fullmatch(r"rpr version \d+\.\d+\.\d+\S*\n", done.out)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_row_3_help_lists_every_mode_and_exit_code(flag: str) -> None:
    done = rpr(flag)
    assert done.code == 0
    assert all(f"\n  {mode.name}, " in done.out for mode in SUBCOMMANDS)
    assert all(f"\n  {code} " in done.out for code in (0, 1, 2, 130))


@pytest.mark.parametrize("words", [("interval", "--help"), ("i", "-h"), ("i", "-e", "1s", "--help")])
def test_row_6_each_mode_has_help_of_its_own(words: tuple[str, ...]) -> None:
    done = rpr(*words)
    assert done.code == 0
    assert done.out.startswith("rpr interval: ")
    assert "--every DURATION" in done.out


def test_row_14_in_a_pipe_there_is_a_line_for_each_run() -> None:
    line = f"{shlex.join(PROGRAM)} c -t 3 -- echo x | wc -l"
    done, _ = raw(["sh", "-c", line])
    assert done.stdout.strip() == b"3"


def test_row_21_starts_lie_an_interval_apart_and_the_last_one_is_the_end() -> None:
    done = rpr("c", "-t", "2", "-e", "3s", "--json", "--", "true")
    first_s, second_s = started_s(done)
    assert second_s - first_s >= 3 - LATE_FIRST_S
    assert done.seconds < 6 + LATE_S


def test_row_22_n_runs_take_n_minus_one_intervals() -> None:
    done = rpr("i", "-e", "100ms", "-t", "5", "--json", "--", "true")
    starts_s = started_s(done)
    assert len(starts_s) == 5
    assert starts_s[-1] - starts_s[0] >= 0.4 - LATE_FIRST_S
    assert done.code == 0


def started_s(done: Done) -> list[float]:
    """Return when `--json` says that runs were started; no run is early, but the first one may have been late."""
    return [json.loads(line)["started_at"] for line in done.lines]


def test_row_25_four_runs_fit_before_the_end() -> None:
    done = rpr("i", "-e", "1s", "-f", "3500ms", "--on-busy", "queue", "--", "echo", "t")
    assert done.code == 0
    assert done.lines == ["t"] * 4
    assert done.seconds >= 3.5


def test_row_26_time_stops_before_the_count_does() -> None:
    done = rpr("i", "-e", "50ms", "-t", "1000", "-f", "220ms", "--", "echo", "t")
    assert done.code == 0
    assert 1 <= len(done.lines) <= 5


def test_row_28_no_run_starts_at_the_end() -> None:
    done = rpr("d", "-f", "3s", "-e", "1s", "--on-busy", "queue", "--", "echo", "t")
    assert done.code == 0
    assert done.lines == ["t"] * 3


def test_row_29_the_end_cuts_a_run_which_is_no_failure() -> None:
    done = rpr("d", "-f", "500ms", "--stats-only", "--", "sleep", "30")
    assert done.code == 0
    assert "Failed: 0" in done.out
    assert "Cut off: 1" in done.out
    assert 0.5 <= done.seconds < LATE_S


def test_row_30_runs_never_overlap_and_missed_ticks_are_skipped() -> None:
    script = "date +%s%N; sleep 0.25; date +%s%N >&2"
    done = rpr("i", "-e", "100ms", "-t", "3", "--stats-only", "--", "sh", "-c", script)
    assert "Total executions: 3" in done.out
    assert re.search(r"Skipped ticks: \d+", done.out)
    done = rpr("i", "-e", "100ms", "-t", "3", "--", "sh", "-c", script)
    begins, ends = [int(n) for n in done.lines], [int(n) for n in done.err.splitlines()]
    assert all(end <= begin for end, begin in zip(ends, begins[1:], strict=False))
    assert len(begins) == 3


def test_row_32_quiet_says_one_line_when_it_fails() -> None:
    done = rpr("c", "-t", "1", "-q", "--", "false")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)


def test_row_33_statistics_only() -> None:
    done = rpr("c", "-t", "3", "--stats-only", "--", "echo", "x")
    assert done.code == 0
    assert re.fullmatch(
        r"\n✅ Execution completed!\n📊 Statistics:\n   Total executions: 3\n   Successful: 3\n   Failed: 0\n"
        r"   Duration: \S+\n",
        done.out,
    )


def test_row_34_statistics_of_failures_end_with_a_warning() -> None:
    done = rpr("c", "-t", "2", "--stats-only", "--", "false")
    assert done.code == 1
    assert "Total executions: 2\n   Successful: 0\n   Failed: 2\n" in done.out
    assert done.out.endswith("\n\n⚠️  Some executions failed. Check command output above.\n")


def test_row_35_verbose_shows_everything() -> None:
    done = rpr("c", "-t", "2", "-v", "--", "echo", "hi")
    assert done.code == 0
    assert done.out.startswith(
        "🔢 Count execution: 2 times\n📋 Command: [echo hi]\n🚀 Starting execution...\n"
        "[stdout:echo] hi\n[stdout:echo] hi\n\n✅ Execution completed!\n"
    )


def test_row_36_verbose_tells_stderr_apart() -> None:
    done = rpr("c", "-t", "1", "-v", "--", "sh", "-c", "echo e >&2")
    assert done.err == "[stderr:sh] e\n"


@pytest.mark.parametrize(
    ("number", "row"), [(signal.SIGINT, 48), (signal.SIGTERM, 49)], ids=["row 48: SIGINT", "row 49: SIGTERM"]
)
def test_row_48_and_49_a_signal_ends_it_with_130(number: int, row: int) -> None:
    with running("i", "-e", "50ms", "--", "sh", "-c", "echo x; sleep 0.01") as process:
        a_line(process)
        process.send_signal(number)
        _, err = process.communicate(timeout=LATE_S)
    assert process.returncode == 130, row
    assert err == b"Error: interrupted\n"


def test_row_50_nothing_the_command_has_started_is_left() -> None:
    with running("c", "-t", "1", "--", "sh", "-c", "sleep 60 & echo $!; wait") as process:
        pid = int(a_line(process))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LATE_S)
    assert process.returncode == 130
    assert is_gone(pid)


def is_gone(pid: int) -> bool:
    """Whether there is no such process, or only a zombie that nobody has reaped yet; waits for a bounded time."""
    deadline = time.monotonic() + LATE_S
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        os.sched_yield()
    return False


def test_row_64_no_window_holds_more_starts_than_the_rate_allows() -> None:
    done = rpr("rl", "-r", "3/1s", "-t", "5", "--joblog", "/dev/stderr", "--", "true")
    starts = [float(line.split("\t")[2]) for line in done.err.splitlines()[1:]]
    assert done.code == 0
    assert len(starts) == 5
    # The log has milliseconds.
    assert all(later - earlier >= 0.998 for earlier, later in zip(starts, starts[3:], strict=False))


def test_row_65_windows_may_be_shorter_than_a_second() -> None:
    starts_s = started_s(rpr("rl", "-r", "5/500ms", "-t", "10", "--json", "--", "true"))
    assert len(starts_s) == 10
    assert starts_s[5] - starts_s[0] >= 0.499


def test_row_66_room_is_kept_for_the_tries_of_a_pattern() -> None:
    line = "rl -r 10/1h -p 0,10m,30m -f 4s -- echo x"
    done = rpr(*line.split())
    assert (done.code, done.lines) == (0, ["x"] * 3)


# A minute is a second: both clocks of the command run sixty times as fast, and it looks at them often.
FAST = """
import time
from chronos.repeater import unix
from chronos.cli.rpr import root
began = time.time()
class Fast:
    def time(self): return began + (time.time() - began) * 60
    boottime = time
root.SystemClock = Fast
unix.TURN_S_MAX = 0.02
"""


@pytest.mark.parametrize(("row", "times"), [(69, 1), (70, 3)], ids=["row 69", "row 70"])
def test_rows_69_and_70_cron_runs_once_a_minute_and_ends_with_the_last_run(row: int, times: int) -> None:
    line = [*PROGRAM[:2], FAST + PROGRAM[2], "cron", "--cron", "* * * * *", "-t", str(times), "--joblog", "/dev/stderr"]
    done, _ = raw([*line, "--", "echo", "t"])
    starts = [float(line.split("\t")[2]) for line in done.stderr.decode().splitlines()[1:]]
    minutes = [int(start // 60) for start in starts]
    assert done.stdout == b"t\n" * times, row
    assert len(set(minutes)) == times
    assert minutes == sorted(minutes)


def test_row_76_adaptive_says_what_it_has_learned() -> None:
    line = "adaptive -b 100ms --min-interval 50ms --max-interval 500ms -m -t 2 -- true"
    done = rpr(*line.split())
    assert done.code == 0
    assert re.match(r"📊 Adaptive Metrics: Interval=\S+, Success=67\.2%, Circuit=CLOSED\n", done.out)
    assert len(done.lines) == 2


def test_row_79_adaptive_waits_longer_when_it_fails() -> None:
    line = "a -b 100ms --min-interval 50ms --max-interval 2s -t 6"
    done = rpr(*line.split(), "--", *STAMPED)
    gaps = done.gaps_ms()
    assert done.code == 1
    assert gaps[-1] > 2 * gaps[0]
    assert gaps[-1] >= 1000


STAMPED = ("sh", "-c", "date +%s%N; exit 1")


@pytest.mark.parametrize(
    ("line", "gaps_ms"),
    [
        pytest.param("exp --base-delay 100ms --attempts 4", [100, 200, 400], id="row 51"),
        pytest.param("fib --base-delay 50ms --attempts 5", [50, 50, 100, 150], id="row 54"),
        pytest.param("lin --increment 50ms --attempts 4", [50, 100, 150], id="row 55"),
        pytest.param("poly --base-delay 50ms --exponent 2 --attempts 4", [50, 200, 450], id="row 56"),
        pytest.param("exp --base-delay 100ms --max-delay 150ms --attempts 4", [100, 150, 150], id="row 57"),
        pytest.param("delays --delays 50ms,10ms,0", [50, 10, 0], id="delays"),
    ],
)
def test_rows_51_to_57_tries_lie_as_far_apart_as_their_formula_says(line: str, gaps_ms: list[float]) -> None:
    done = rpr(*line.split(), "--", *STAMPED)
    assert done.code == 1
    assert len(done.gaps_ms()) == len(gaps_ms)
    assert all(found >= least - EARLY_MS for found, least in zip(done.gaps_ms(), gaps_ms, strict=True))
    assert done.seconds < LATE_S


def test_row_52_the_first_success_is_the_end() -> None:
    done = rpr("exp", "--base-delay", "50s", "--attempts", "5", "--", "echo", "x")
    assert (done.code, done.out) == (0, "x\n")


def test_row_53_tries_that_failed_do_not_count_when_the_last_one_works(tmp_path: Path) -> None:
    script = "n=$(cat f 2>/dev/null||echo 0); echo $((n+1))>f; [ $n -ge 2 ]"
    done = rpr("exp", "--base-delay", "50ms", "--attempts", "5", "--stats-only", "--", "sh", "-c", script, cwd=tmp_path)
    assert done.code == 0
    assert "Total executions: 3\n   Successful: 1\n   Failed: 2\n" in done.out


def test_row_58_drawn_delays_stay_within_their_bounds() -> None:
    line = "dj --base-delay 50ms --multiplier 3 --max-delay 400ms --attempts 6 --seed 7"
    done = rpr(*line.split(), "--", *STAMPED)
    assert done.code == 1
    assert len(done.gaps_ms()) == 5
    assert all(gap_ms >= 50 - EARLY_MS for gap_ms in done.gaps_ms())


@pytest.mark.parametrize(
    ("expression", "zone", "clock", "first"),
    [
        pytest.param("0 9 * * 1-5", "UTC", "2024-01-06 08:00:00", "2024-01-08T09:00:00+00:00", id="row 74"),
        pytest.param("0 9 * * *", "America/New_York", "2024-01-01 08:00:00", "2024-01-01T09:00:00-05:00", id="row 75"),
    ],
)
def test_rows_74_and_75_the_next_instant(expression: str, zone: str, clock: str, first: str) -> None:
    at = datetime.fromisoformat(clock).replace(tzinfo=UTC).timestamp()
    # The command reads its clock at one place; there it is told what time it is.
    program = f"from chronos.cli.rpr import root; real = root.SystemClock(); real.time = lambda: {at}; "
    program += f"root.SystemClock = lambda: real; {PROGRAM[2]}"
    line = [*PROGRAM[:2], program, "cron", "--cron", expression, "--tz", zone, "--dry-run", "--next", "1"]
    done, _ = raw([*line, "--", "true"])
    assert done.returncode == 0
    utc = datetime.fromisoformat(first).astimezone(UTC).isoformat().replace("+00:00", "Z")
    shown = f"{first} ({zone})" if zone == "UTC" else f"{first} ({zone})  {utc}"
    assert done.stdout.decode().splitlines()[-1] == f"  {shown}"


def answer(head: str, body: str = "") -> tuple[str, ...]:
    """Return a command that says on stderr when it was started, and prints an HTTP answer."""
    return ("sh", "-c", f"date +%s%N >&2; printf '{head}\\r\\n\\r\\n{body}'")


BUSY = "HTTP/1.1 503 X\\r\\nRetry-After: 1"


@pytest.mark.parametrize(
    ("command", "flags", "source", "wait_ms"),
    [
        pytest.param(answer(BUSY), "", "retry-after-header timing: 1s", 1000, id="row 89"),
        pytest.param(answer("HTTP/1.1 200 OK\\r\\nRetry-After: 1"), "", "", 100, id="row 90: 200"),
        pytest.param(answer("HTTP/1.1 404 X\\r\\nRetry-After: 1"), "", "", 100, id="row 90: 404"),
        pytest.param(
            answer("HTTP/1.1 429 X", '{"retry_after": 1.2}'), "", "json-retry-after timing: 2s", 2000, id="row 91"
        ),
        pytest.param(
            answer("HTTP/1.1 503 X\\r\\nRetry-After: 7200"),
            "--http-max-delay 1s",
            "retry-after-header timing: 1s",
            1000,
            id="row 92",
        ),
        pytest.param(
            answer(BUSY, '{"retry_after": 5}'), "", "retry-after-header timing: 1s", 1000, id="row 93: the header wins"
        ),
        pytest.param(answer("HTTP/2 503\\r\\nretry-after: 1"), "", "retry-after-header timing: 1s", 1000, id="HTTP/2"),
    ],
)
def test_rows_89_to_93_an_answer_decides_when_the_next_run_is(
    command: tuple[str, ...], flags: str, source: str, wait_ms: float
) -> None:
    done = rpr("i", "-e", "100ms", "-t", "2", "--http-aware", "-v", *flags.split(), "--", *command)
    assert done.code == 0
    first, second = (int(nanos) / 1e6 for nanos in re.findall(r"\[stderr:sh\] (\d+)", done.err))
    assert (f"HTTP-aware: Found {source}\n" if source else "") in done.err
    assert bool(source) == ("HTTP-aware" in done.err)
    # The wait begins when the run has ended; where there is none, the first run may have been late for its tick.
    assert second - first >= (wait_ms if source else 0)
    assert second - first < wait_ms + LATE_S * 1000


def test_row_82_a_configuration_that_is_not_there_is_refused() -> None:
    done = rpr("--config", "no.toml", "c", "-t", "1", "--", "echo", "x")
    assert (done.code, done.out) == (2, "")
    assert done.err == "Error: the config file cannot be used: no.toml: No such file or directory.\n"


@pytest.mark.parametrize(
    ("env", "least_s", "named"),
    [pytest.param({}, 0.2, "200ms", id="row 83"), pytest.param({"RPR_TIMEOUT": "1s"}, 1.0, "1s", id="row 84")],
)
def test_rows_83_and_84_the_environment_wins_over_the_file(
    env: dict[str, str], least_s: float, named: str, tmp_path: Path
) -> None:
    (tmp_path / "rpr.toml").write_text('[defaults]\ntimeout = "200ms"\n')
    done = rpr("--config", "rpr.toml", "c", "-t", "1", "--", "sleep", "50", cwd=tmp_path, env=env)
    assert done.code == 1
    assert f"rpr: run 1: timeout after {named}\n" in done.err
    assert least_s <= done.seconds < LATE_S


def test_row_85_what_is_typed_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "rpr.toml").write_text("[defaults]\nmax_retries = 2\n")
    line = ["--config", "rpr.toml", "exp", "--base-delay", "10ms", "--attempts", "4", "--", "sh", "-c"]
    assert rpr(*line, "echo x; exit 1", cwd=tmp_path).lines == ["x"] * 4
    line.remove("--attempts")
    line.remove("4")
    assert rpr(*line, "echo x; exit 1", cwd=tmp_path).lines == ["x"] * 2


def test_row_86_a_wrong_value_in_the_environment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ok.toml").write_text("")
    done = rpr("--config", "ok.toml", "c", "-t", "1", "--", "echo", "x", cwd=tmp_path, env={"RPR_TIMEOUT": "bogus"})
    assert (done.code, done.out) == (2, "")
    assert "RPR_TIMEOUT: `bogus` is not a duration" in done.err


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=LATE_S) as answered:
            return answered.status, answered.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, ""


def test_row_87_health_is_answered_while_it_repeats(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "rpr.toml").write_text(f"[observability]\nhealth_enabled = true\nhealth_check_port = {port}\n")
    with running("--config", "rpr.toml", "i", "-e", "200ms", "--", "echo", "x", cwd=tmp_path) as process:
        totals = []
        for _ in range(2):
            a_line(process)
            a_line(process)  # the one before has ended
            status, body = fetch(f"http://127.0.0.1:{port}/health")
            health = json.loads(body)
            assert (status, health["status"]) == (200, "healthy")
            assert health["metrics"]["average_response_time"] > 0
            totals.append(health["metrics"]["total_executions"])
        assert [fetch(f"http://127.0.0.1:{port}{path}")[0] for path in ("/ready", "/live", "/x")] == [200, 200, 404]
    assert totals[0] < totals[1]


def test_row_88_metrics_count_and_the_histogram_adds_up(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "rpr.toml").write_text(f"[observability]\nmetrics_enabled = true\nmetrics_port = {port}\n")
    # The second run fails; after the third there is a long wait, in which we ask.
    script = 'echo "$RPR_RUN"; [ "$RPR_RUN" != 2 ]'
    line = ["--config", "rpr.toml", "rl", "-r", "3/1h", "--", "sh", "-c", script]
    with running(*line, cwd=tmp_path) as process:
        assert [a_line(process) for _ in range(3)] == [b"1\n", b"2\n", b"3\n"]
        deadline = time.monotonic() + LATE_S
        while "_count 3" not in (page := fetch(f"http://127.0.0.1:{port}/metrics")[1]):
            assert time.monotonic() < deadline, page
    assert 'rpr_executions_total{status="success"} 2\n' in page
    assert 'rpr_executions_total{status="failure"} 1\n' in page
    buckets = [int(count) for count in re.findall(r'_bucket\{le="[^"]+"\} (\d+)', page)]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 3


def test_row_96_the_last_one_of_a_flag_wins() -> None:
    done = rpr("i", "-e", "1h", "-t", "2", "-e", "50ms", "--", "echo", "x")
    assert done.lines == ["x", "x"]
    assert done.seconds < LATE_S


def test_row_97_a_line_of_100_000_characters_is_intact() -> None:
    line = "x" * 100_000
    done = rpr("c", "-t", "1", "--", "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo")
    assert done.code == 0
    assert done.out == line + "\n"


def test_row_98_memory_does_not_grow_with_the_runs() -> None:
    peaks = [peak_kib("c", "-t", str(times), "-q", "--", "true") for times in (10, 1000)]
    assert peaks[1] < peaks[0] + 4_096


def peak_kib(*args: str) -> int:
    """Return the most memory that `rpr` itself has had at once."""
    done, _ = raw(measured(*args))
    return int(done.stderr.split()[-1])


def test_every_row_has_a_test() -> None:
    text = Path(__file__).read_text()
    named = {int(row) for row in re.findall(r'(?:sure\(\s*|id="row |\["row )(\d+)', text)}
    named |= {int(row) for row in re.findall(r', "row (\d+)', text)}
    for first, word, last in re.findall(r"def test_rows?_(\d+)(?:_(and|to)_(\d+))?_", text):
        named |= set(range(int(first), int(last or first) + 1)) if word == "to" else {int(first), int(last or first)}
    assert named == set(range(1, 99))
