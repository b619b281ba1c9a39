"""`rpr` as people type it: a process of its own, with nothing of ours in its environment."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

COMMAND_S = 60.0
PROGRAM = [sys.executable, "-c", "from chronos.cli.rpr import main; main()"]


@dataclass(frozen=True)
class Done:
    """What a command line came to. `seconds`: by our clock, the start of Python included."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def gaps_ms(self) -> list[float]:
        """Return the milliseconds between the instants that `date +%s%N` has printed."""
        instants = [int(line) / 1e6 for line in self.lines]
        return [later - earlier for earlier, later in pairwise(instants)]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    ours = ("RPR_", "CHRONOS_", "OTEL_", "TRACE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, **(more or {})}


def rpr(*args: str, cwd: Path | None = None, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Done:
    """Type `rpr` with `args`, and wait for it."""
    done, seconds = raw([*PROGRAM, *args], cwd=cwd, stdin=stdin, env=env)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode(), seconds)


def raw(
    command: Sequence[str], *, cwd: Path | None = None, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> tuple[subprocess.CompletedProcess[bytes], float]:
    began = time.monotonic()
    done = subprocess.run(
        command, input=stdin, capture_output=True, timeout=COMMAND_S, check=False, cwd=cwd, env=environment(env)
    )
    return done, time.monotonic() - began


@contextmanager
def running(
    *args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start `rpr`, and end it at the end should it still be there."""
    process = subprocess.Popen(
        [*PROGRAM, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment(env),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def a_line(process: subprocess.Popen[bytes]) -> bytes:
    """Return the next line of stdout; for this the tests wait instead of sleeping."""
    assert process.stdout is not None
    line = b""
    deadline = time.monotonic() + COMMAND_S
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(process.stdout.fileno(), 1) if readable else b""
        assert piece, f"rpr has ended or is silent after {line!r}"
        line += piece
    return line


def measured(*args: str) -> list[str]:
    """Return a command line that runs `rpr` and says last, on stderr, how many KiB of memory it had at most."""
    program = "import re, sys; from chronos.cli.rpr import run; code = run(sys.argv[1:]); "
    program += "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)"
    return [sys.executable, "-c", f"{program}; sys.exit(code)", *args]
