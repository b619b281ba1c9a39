"""`rpr --watch` as people type it: on a terminal of its own, 80 columns by 24 lines unless said."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.acceptance.rpr.typed import COMMAND_S, PROGRAM, environment, raw, rpr

SEQUENCE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[ -/]?[0-~]")


class Terminal:
    """The other side of a terminal that `rpr` runs in."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self.fd = fd
        self.process = process
        self.seen = b""
        self._deadline = time.monotonic() + COMMAND_S

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def until(self, text: str) -> None:
        """Read until `text` is on the screen, anew since the last time."""
        wanted, new = text.encode(), b""
        while wanted not in SEQUENCE.sub(b"", new):
            piece = self._read()
            assert piece, f"{text!r} is not to be seen in {SEQUENCE.sub(b'', new)[-2000:]!r}"
            new += piece

    def close(self) -> None:
        """Go away, as a window that is closed does; a second time it is gone already."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def ended(self) -> int:
        """Return the exit code; what is still printed is in `seen`."""
        while self._read():
            pass
        return self.process.wait(COMMAND_S)

    def _read(self) -> bytes:
        ready, _, _ = select.select([self.fd], [], [], max(0.0, self._deadline - time.monotonic()))
        try:
            piece = os.read(self.fd, 65_536) if ready else b""
        except OSError:  # Linux says so when nobody has the other side open any more
            piece = b""
        self.seen += piece
        return piece


@contextmanager
def watching(*args: str, size: tuple[int, int] = (80, 24), term: str = "xterm-256color") -> Iterator[Terminal]:
    """Start `rpr` in a terminal, and end it at the end should it still be there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    env = environment({"TERM": term})
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        env.pop(name, None)
    process = subprocess.Popen(
        [*PROGRAM, *args], stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
    )
    os.close(theirs)
    terminal = Terminal(ours, process)
    try:
        yield terminal
    finally:
        process.kill()
        process.wait()
        terminal.close()


def test_it_shows_the_runs_and_ends_with_them_and_leaves_the_last_output() -> None:
    with watching(
        "interval", "--every", "200ms", "--times", "3", "--watch", "--", "sh", "-c", "echo run=$RPR_RUN"
    ) as it:
        assert it.ended() == 0
    text = SEQUENCE.sub(b"", it.seen)
    assert b"Interval execution: every 200ms" in text
    assert text.endswith(b"run=3\r\n")
    assert b"\x1b[?1049h" in it.seen
    assert b"\x1b[?1049l" in it.seen, "the screen from before is back"


def test_a_failure_is_one_with_a_screen_too() -> None:
    with watching("count", "--times", "2", "--every", "100ms", "--watch", "--", "false") as it:
        assert it.ended() == 1
    assert b"Error: some commands failed (2 of 2 failed, run 2: exit code 1)" in it.seen


def test_keys_run_it_now_change_its_interval_and_quit(tmp_path: Path) -> None:
    log = tmp_path / "runs.log"
    line = ["interval", "--every", "1h", "--joblog", str(log), "-w", "--", "sh", "-c", "echo run=$RPR_RUN"]
    with watching(*line, size=(60, 16)) as it:
        it.until("run=1")
        it.press("r")
        it.until("Run 2")
        it.press("-")
        it.until("every 30m")
        it.press(" ")
        it.until("PAUSED")
        it.press("q")
        assert it.ended() == 0
    assert len(log.read_text().splitlines()) == 3, "a head and two runs"


def test_ctrl_c_and_sigterm_end_it_as_interrupted_and_nothing_it_started_is_left() -> None:
    for end in (lambda it: it.press("\x03"), lambda it: os.kill(it.process.pid, signal.SIGTERM)):
        with watching("interval", "--every", "1h", "--watch", "--", "sh", "-c", "echo pid=$$; exec sleep 1000") as it:
            it.until("pid=")
            it.until("on for 1")
            end(it)
            assert it.ended() == 130
        found = re.search(rb"pid=(\d+)", SEQUENCE.sub(b"", it.seen))
        assert found
        with pytest.raises(ProcessLookupError):
            os.kill(int(found[1]), 0)


def test_a_terminal_that_goes_away_ends_it_and_nothing_it_started_is_left() -> None:
    with watching("interval", "--every", "1h", "--watch", "--", "sh", "-c", "echo pid=$$; exec sleep 1000") as it:
        it.until("pid=")
        it.until("on for 1")
        it.close()
        assert it.process.wait(COMMAND_S) == 130
    found = re.search(rb"pid=(\d+)", SEQUENCE.sub(b"", it.seen))
    assert found
    with pytest.raises(ProcessLookupError):
        os.kill(int(found[1]), 0)


def test_what_the_command_prints_reaches_the_terminal_as_text_only() -> None:
    printed = r"printf '\033]0;owned\007\033[6n\033[?1003h\007ok\n'"
    with watching("count", "--times", "2", "--every", "200ms", "--watch", "--", "sh", "-c", printed) as it:
        assert it.ended() == 0
    assert b"\x1b]0;" not in it.seen
    assert b"\x1b[6n" not in it.seen
    assert b"\x1b[?1003h" not in it.seen
    assert b"\\x07ok" in it.seen


def test_patterns_are_looked_for_and_one_that_takes_too_long_is_a_failure() -> None:
    line = ["interval", "--every", "50ms", "--watch", "--until-match", "run=4$"]
    with watching(*line, "--", "sh", "-c", "echo run=$RPR_RUN") as it:
        assert it.ended() == 0
    assert SEQUENCE.sub(b"", it.seen).endswith(b"run=4\r\n")
    line = ["count", "--times", "1", "--watch", "--success-pattern", "(a+)+$"]
    with watching(*line, "--", "printf", "a" * 60 + "b") as it:
        assert it.ended() == 1
    assert b"pattern took more than" in it.seen


def test_a_terminal_without_colours_gets_none() -> None:
    with watching("count", "--times", "2", "--every", "200ms", "--watch", "--", "false", term="vt100") as it:
        assert it.ended() == 1
    colours = {int(code) for found in re.findall(rb"\x1b\[([\d;]*)m", it.seen) for code in found.split(b";") if code}
    assert not colours & {*range(30, 39), *range(40, 49), *range(90, 98), *range(100, 108)}, colours


def test_without_a_terminal_it_says_so_and_runs_nothing(tmp_path: Path) -> None:
    done = rpr("interval", "--every", "1s", "--watch", "--", "touch", str(tmp_path / "made"))
    assert (done.code, done.out) == (2, "")
    assert "--watch needs a terminal" in done.err
    assert list(tmp_path.iterdir()) == []


def test_without_it_the_library_behind_the_screen_is_not_even_loaded() -> None:
    program = "import sys; from chronos.cli.rpr import run; code = run(sys.argv[1:]); "
    program += "sys.exit(code or any(name in sys.modules for name in ('textual', 'rich', 'curses')))"
    done, _ = raw([sys.executable, "-c", program, "count", "--times", "1", "--", "true"])
    assert done.returncode == 0


def test_a_terminal_without_a_cursor_is_refused() -> None:
    with watching("interval", "--every", "1s", "--watch", "--", "true", term="dumb") as it:
        assert it.ended() == 2
    assert b"TERM says dumb" in it.seen


@pytest.mark.parametrize(
    "other", ["--json", "--quiet", "--verbose", "--stats-only", "--stream", "--buffer=line", "--output=x"]
)
def test_what_prints_beside_the_screen_is_refused(other: str) -> None:
    done = rpr("interval", "--every", "1s", "--watch", other, "--", "true")
    assert done.code == 2
    assert "exclude each other" in done.err
