"""What happens to the command and to what is around it: bytes, signals, what is left behind."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.acceptance.rpr.test_rows import LATE_S, is_gone
from tests.acceptance.rpr.typed import PROGRAM, a_line, environment, raw, rpr, running

from chronos.cli.rpr.subcommands import SUBCOMMANDS

NEEDED = {
    "every": "10ms",
    "times": "2",
    "for": "10s",
    "cron": "* * * * * *",
    "base_delay": "10ms",
    "increment": "10ms",
    "delays": "10ms,10ms",
    "rate": "10/1s",
    "base_interval": "100ms",
}


@pytest.mark.parametrize("name", [name for mode in SUBCOMMANDS for name in (mode.name, *mode.aliases)])
def test_every_mode_runs_under_each_of_its_names(name: str) -> None:
    [mode] = [each for each in SUBCOMMANDS if name in (each.name, *each.aliases)]
    needed = {"times": "2", **{flag: NEEDED[flag] for flag in mode.required}}
    flags = [word for flag, value in needed.items() for word in (f"--{flag.replace('_', '-')}", value)]
    # What tries until it works fails once.
    done = rpr(
        name, *flags, "--", "sh", "-c", 'echo "$RPR_RUN"; [ "$RPR_RUN" = 2 ]' if mode.retries else "echo $RPR_RUN"
    )
    assert (done.code, done.out) == (0, "1\n2\n"), done.err


def test_every_byte_is_passed_on_and_the_streams_stay_apart() -> None:
    every_byte = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 999); sys.stderr.buffer.write(b'\\xff\\0')"
    done, _ = raw([*PROGRAM, "c", "-t", "2", "--", sys.executable, "-c", every_byte])
    assert done.stdout == bytes(range(256)) * 999 * 2
    assert done.stderr == b"\xff\0" * 2


def test_what_has_no_line_feed_at_its_end_gets_none() -> None:
    assert rpr("c", "-t", "2", "--", "printf", "a").out == "aa"


def test_a_prefix_stands_before_every_line_and_only_there() -> None:
    done = rpr("c", "-t", "1", "-o", "> ", "--", "printf", r"a\n\nb")
    assert done.out == "> a\n> \n> b\n"


def test_a_block_is_printed_when_its_run_has_ended() -> None:
    script = 'printf "$RPR_RUN a\\n"; sleep 0.2; printf "$RPR_RUN b\\n"'
    line = "i -e 50ms -t 4 --concurrency 4 --buffer block --"
    lines = rpr(*line.split(), "sh", "-c", script).lines
    assert sorted(lines) == [f"{n} {part}" for n in range(1, 5) for part in "ab"]
    assert all(first.split()[0] == second.split()[0] for first, second in zip(lines[::2], lines[1::2], strict=True))


def test_several_runs_may_be_on_at_once(tmp_path: Path) -> None:
    # Each run waits for the other one: one at a time would run into the timeout.
    script = 'touch "$RPR_RUN"; until [ -e 1 ] && [ -e 2 ]; do sleep 0.05; done'
    line = "i -e 10ms -t 2 --concurrency 2 --timeout 40s --"
    done = rpr(*line.split(), "sh", "-c", script, cwd=tmp_path)
    assert done.code == 0, done.err


def test_json_is_one_object_a_run() -> None:
    done = rpr("c", "-t", "2", "--json", "--", "sh", "-c", "echo out; echo err >&2; exit $((RPR_RUN - 1))")
    first, second = (json.loads(line) for line in done.lines)
    assert done.code == 1
    assert (first["run"], first["ok"], first["exit_code"], first["result"]) == (1, True, 0, "ok")
    assert (second["run"], second["ok"], second["exit_code"], second["result"]) == (2, False, 1, "failed")
    assert (first["stdout"], first["stderr"], first["stdout_bytes"]) == ("out\n", "err\n", 4)
    assert second["duration_s"] > 0


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("c -t 2 --exit-code last -- sh -c 'exit 7'", 7),
        ("c -t 2 --exit-code last -- sh -c 'exit $((2 - RPR_RUN))'", 0),
        ("c -t 1 --exit-code last --timeout 100ms -- sleep 50", 124),
        ("c -t 1 --exit-code last -- sh -c 'kill -9 $$'", 137),
        ("c -t 1 --exit-code last -- nonexistent-cmd", 127),
        ("c -t 1 --timeout 100ms -- sleep 50", 1),
    ],
)
def test_the_exit_code_is_the_last_runs_when_that_is_asked_for(line: str, code: int) -> None:
    assert rpr(*shlex.split(line)).code == code


def test_a_file_that_cannot_be_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    done = rpr("c", "-t", "1", "--exit-code", "last", "--", "./plain", cwd=tmp_path)
    assert done.code == 126
    assert "rpr: run 1: ./plain: Permission denied\n" in done.err


def test_input_is_replayed_for_every_run() -> None:
    assert rpr("c", "-t", "2", "--stdin", "replay", "--", "cat", stdin=b"a\nb\n").out == "a\nb\na\nb\n"


def test_a_joblog_is_gone_on_with(tmp_path: Path) -> None:
    line = ["c", "-t", "3", "--joblog", "log", "--", "sh", "-c", 'echo "$RPR_RUN"; [ "$RPR_RUN" != 2 ]']
    assert rpr("i", "-e", "1ms", "-t", "2", *line[3:], cwd=tmp_path).lines == ["1", "2"]
    refused = rpr(*line, cwd=tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert "go on with --resume" in refused.err
    assert rpr(*line[:5], "--resume", *line[5:], cwd=tmp_path).lines == ["3"]
    rows = [row.split("\t") for row in (tmp_path / "log").read_text().splitlines()]
    assert rows[0] == ["Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command"]
    assert [(row[0], row[5], row[6]) for row in rows[1:]] == [("1", "2", "0"), ("2", "2", "1"), ("3", "2", "0")]


def test_what_does_not_want_to_end_is_killed_after_grace() -> None:
    script = "trap '' TERM; echo $$; while :; do sleep 0.1; done"
    done = rpr("c", "-t", "1", "--timeout", "2s", "--grace", "300ms", "--", "sh", "-c", script)
    assert done.code == 1
    assert "timeout after 2s" in done.err
    assert is_gone(int(done.out))
    assert done.seconds >= 2.3


def test_a_second_interrupt_is_immediate() -> None:
    script = "trap '' TERM INT; echo $$; while :; do sleep 0.1; done"
    with running("c", "-t", "1", "--grace", "1h", "--", "sh", "-c", script) as process:
        child = int(a_line(process))
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=LATE_S)
    assert process.returncode == 130
    assert err == b"Error: interrupted\n"
    assert is_gone(child)


def test_an_interrupt_is_heard_while_nobody_reads_the_output() -> None:
    with running("c", "-t", "1", "--", "sh", "-c", "echo $$; exec yes") as process:
        child = int(a_line(process))
        process.send_signal(signal.SIGINT)
        process.wait(timeout=LATE_S)
    assert process.returncode == 130
    assert is_gone(child)


def test_statistics_are_printed_when_it_is_interrupted() -> None:
    with running("i", "-e", "10ms", "-v", "--", "echo", "x") as process:
        while b"x" not in a_line(process):
            pass
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=LATE_S)
    assert process.returncode == 130
    assert re.search(r"Total executions: [1-9]", out.decode())


def test_when_the_reader_goes_it_ends_quietly() -> None:
    line = f"{shlex.join(PROGRAM)} i -e 10ms -- echo x; echo $? >&2"
    done, _ = raw(["sh", "-c", f"{{ {line}; }} | head -n 2"])
    assert done.stdout == b"x\nx\n"
    assert done.stderr == b"141\n"


def test_a_reader_that_takes_its_time_gets_everything() -> None:
    line = f"{shlex.join(PROGRAM)} c -t 1 -- head -c 3000000 /dev/zero | {{ sleep 2; wc -c; }}"
    done, _ = raw(["sh", "-c", line])
    assert int(done.stdout) == 3_000_000


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_the_shell_has_closed_is_nobodys_else(closed: str, tmp_path: Path) -> None:
    line = f"{shlex.join(PROGRAM)} c -t 2 -v -- sh -c 'echo x >> ran; echo x; echo y >&2' {closed}"
    done, _ = raw(["sh", "-c", line], cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "ran").read_text() == "x\nx\n"


def test_a_full_disk_is_named() -> None:
    done, _ = raw(["sh", "-c", f"{shlex.join(PROGRAM)} i -e 10ms -- echo x > /dev/full"])
    assert done.returncode == 1
    assert done.stderr == b"Error: cannot write output: No space left on device\n"


def test_what_is_left_in_the_group_is_ended_with_the_run() -> None:
    done = rpr("c", "-t", "2", "--", "sh", "-c", "sleep 100 >/dev/null 2>&1 & echo $!")
    assert done.code == 0
    assert all(is_gone(int(line)) for line in done.lines)
    assert len(done.lines) == 2


def test_who_has_left_the_group_and_holds_the_pipe_does_not_hold_up_the_next_run() -> None:
    done = rpr("c", "-t", "2", "--", "sh", "-c", "setsid sh -c 'echo $$; exec sleep 15' & sleep 0.3")
    assert done.code == 0
    for line in done.lines:
        os.kill(int(line), signal.SIGKILL)
    assert len(done.lines) == 2
    assert done.seconds < 15


def test_many_runs_leave_neither_descriptors_nor_zombies() -> None:
    times = 100
    script = 'ls /proc/$PPID/fd | wc -l; echo "$(cat /proc/$PPID/task/$PPID/children)"'
    lines = rpr("c", "-t", str(times), "--", "sh", "-c", script).lines
    assert len(lines) == 2 * times
    counts = [int(line) for line in lines[::2]]
    # Some look while the pipes to them are still being made.
    assert min(counts[-20:]) == min(counts[:20])
    assert max(counts) <= min(counts) + 6
    assert all(len(children.split()) == 1 for children in lines[1::2]), "the run itself, and nobody else"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the state of processes from /proc")
def test_a_terminals_stop_key_stops_the_command_too_and_goes_on_without_a_burst() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        script = "echo $$ $RPR_RUN; exec sleep 0.1"
        os.execve(PROGRAM[0], [*PROGRAM, "i", "-e", "200ms", "-t", "4", "--", "sh", "-c", script], environment())
    try:
        child = int(words_from(terminal)[0])
        os.kill(pid, signal.SIGTSTP)
        wait_for_state(pid, "T")
        wait_for_state(child, "T", "")  # stopped, or it had ended before
        stopped_at = time.monotonic()
        while time.monotonic() < stopped_at + 1:  # several ticks pass
            os.sched_yield()
        os.kill(pid, signal.SIGCONT)
        rest = [words_from(terminal) for _ in range(3)]
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    assert [number for _, number in rest] == ["2", "3", "4"]
    assert os.waitstatus_to_exitcode(status) == 0


def words_from(terminal: int) -> list[str]:
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(terminal, 1)
    return line.decode().split()


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def wait_for_state(pid: int, *states: str) -> None:
    deadline = time.monotonic() + LATE_S
    while state_of(pid) not in states:
        assert time.monotonic() < deadline
        os.sched_yield()


def test_a_repetition_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    done = rpr("c", "-t", "1", "--joblog", "no/such/folder/log", "--", "touch", "ran", cwd=tmp_path)
    assert done.code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_command_may_have_as_many_descriptors_as_the_shell_gave() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert rpr("c", "-t", "1", "--", "sh", "-c", "ulimit -n").out == f"{soft}\n"


def test_what_a_run_does_not_need_is_not_imported() -> None:
    program = "import sys; from chronos.cli.rpr import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    line = [PROGRAM[0], "-c", program, "interval", "-e", "1ms", "-t", "2", "-v", "--timeout", "9s", "--", "true"]
    done, _ = raw(line)
    imported = {name.partition(".")[0] for name in done.stderr.decode().split()}
    assert "chronos" in imported
    heavy = (
        "asyncio click difflib email hashlib http json msgspec pathlib psutil random rich secrets shutil ssl tempfile"
    )
    assert imported & {*heavy.split(), "textual", "tomllib", "urllib"} == set()


@pytest.mark.parametrize(
    ("line", "first"),
    [
        ("i -e 10ms -t 2", "🕐 Interval execution: every 10ms, 2 times"),
        ("c -t 1 -e 10ms -f 1m", "🔢 Count execution: 1 times, for 1m, every 10ms"),
        ("d -f 50ms -e 30ms", "⏱️  Duration execution: for 50ms, every 30ms"),
        (
            "a -b 1s -m -t 1",
            "🧠 Adaptive execution: base interval 1s, range 100ms-30s, with metrics, 1 times",
        ),
        (
            "la -b 1s -t 1",
            "⚖️  Load-adaptive execution: base interval 1s, target CPU 70%, memory 80%, load 1.0, 1 times",
        ),
        ("exp -bd 1s", "📈 Exponential strategy: base delay 1s, max 1m, multiplier 2.0x"),
        ("fib -bd 1s -md 9s", "🌀 Fibonacci strategy: base delay 1s, max 9s"),
        ("lin -inc 1s", "📏 Linear strategy: increment 1s, max 1m"),
        ("poly -bd 1s -exp 1.5", "🔢 Polynomial strategy: base delay 1s, exponent 1.5, max 1m"),
        ("dj -bd 1s --seed 7", "🎲 Decorrelated jitter strategy: base delay 1s, multiplier 3.0x, max 1m, seed 7"),
    ],
)
def test_verbose_begins_with_the_mode_and_its_numbers(line: str, first: str) -> None:
    done = rpr(*line.split(), "-v", "--", "true")
    assert done.lines[:3] == [first, "📋 Command: [true]", "🚀 Starting execution..."]
