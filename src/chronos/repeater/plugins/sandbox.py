"""A plug-in in a process of its own: asked over a pipe in lines of JSON, and ended when an answer takes too long.

The process has no environment, no descriptor but the two pipes, and limits (see `sandboxed.py`). It is a guard
against a plug-in that goes wrong: it cannot open a file or a socket. It still runs as the same user, who may send
signals, so that it is no prison for one that means harm.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

from chronos.repeater.plugins.port import Field, Header, PluginFailed, PluginInvalid, Source
from chronos.timing.clock import Clock

ANSWER_BYTES_MAX = 4 * 1024 * 1024
PIECE_BYTES = 65_536


class Limits(NamedTuple):
    """What a sandboxed plug-in may use.

    Attributes:
        cpu_s: Over its whole life.
        memory_bytes: Of address space; macOS does not keep to it.
        start_s: Until it is loaded.
        answer_s: For each answer.
    """

    cpu_s: int = 60
    memory_bytes: int = 512 * 1024 * 1024
    start_s: float = 10.0
    answer_s: float = 2.0


USUAL = Limits()


class Sandbox:
    """One plug-in in its own process. The process is ended with this object, and at the latest with `rpr`."""

    def __init__(self, source: Source, clock: Clock, limits: Limits = USUAL) -> None:
        """Start the process and load the plug-in there.

        Raises:
            PluginFailed: It cannot be loaded within its limits.
        """
        self._source = source
        self._clock = clock
        self._limits = limits
        self._process = _started(limits)
        self._rest = b""
        self._end = weakref.finalize(self, _ended, self._process)
        self._call(limits.start_s, "load", source.text, source.path)

    @property
    def header(self) -> Header:
        return self._source.header

    def fields(self) -> list[Field]:
        return [Field(*field) for field in self._call(self._limits.answer_s, "fields")]

    def create(self, options: Mapping[str, Any], seed: int) -> None:
        self._call(self._limits.answer_s, "create", dict(options), seed)

    def ask(self, method: str, *arguments: Any) -> Any:
        return self._call(self._limits.answer_s, "ask", method, *arguments)

    def close(self) -> None:
        """End the process. May be called twice."""
        self._end()

    def _call(self, within_s: float, *words: Any) -> Any:
        if not self._end.alive:
            raise PluginFailed(self.header.name, self._death())
        until_s = self._clock.boottime() + within_s
        try:
            self._send(json.dumps(words).encode() + b"\n", until_s)
            kind, value = _answer(self._line(until_s))
        except _Silent as exc:
            self.close()
            raise PluginFailed(self.header.name, str(exc) or f"no answer within {within_s:g} s") from None
        except _Gone:
            self.close()
            raise PluginFailed(self.header.name, self._death()) from None
        if kind == "invalid":
            raise PluginInvalid(str(value))
        if kind == "failed":
            raise PluginFailed(self.header.name, str(value)[:1000])
        return value

    def _send(self, data: bytes, until_s: float) -> None:
        fd = _fd(self._process.stdin)
        while data:
            self._await([], [fd], until_s)
            try:
                data = data[os.write(fd, data[:PIECE_BYTES]) :]
            except BlockingIOError:
                continue
            except OSError:
                raise _Gone from None

    def _line(self, until_s: float) -> bytes:
        """Return one line of at most 4 MiB."""
        fd, pieces, size = _fd(self._process.stdout), [self._rest], len(self._rest)
        while b"\n" not in pieces[-1]:
            self._await([fd], [], until_s)
            pieces.append(os.read(fd, PIECE_BYTES))
            size += len(pieces[-1])
            if not pieces[-1]:
                raise _Gone
            if size > ANSWER_BYTES_MAX:
                raise _Silent("its answer is longer than 4 MiB")
        line, _, self._rest = b"".join(pieces).partition(b"\n")
        return line

    def _await(self, readable: list[int], writable: list[int], until_s: float) -> None:
        left_s = until_s - self._clock.boottime()
        if left_s <= 0 or not any(select.select(readable, writable, [], left_s)):
            raise _Silent

    def _death(self) -> str:
        code = self._process.returncode
        if code == -signal.SIGXCPU:
            return f"it used more than {self._limits.cpu_s} s of CPU, and was ended"
        return f"its process has ended ({f'signal {-code}' if code and code < 0 else f'exit code {code}'})"


class _Silent(Exception):
    """There is no answer to use."""


class _Gone(Exception):
    """There is nobody to answer."""


def _answer(line: bytes) -> tuple[str, Any]:
    try:
        kind, value = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        raise _Silent("what it sent is no answer") from None
    return str(kind), value


def _started(limits: Limits) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-I", "-m", "chronos.repeater.plugins.sandboxed"]
    words += [str(limits.cpu_s), str(limits.memory_bytes)]
    process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own words
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
        close_fds=True,
        start_new_session=True,  # ^C in the terminal is for us
        bufsize=0,
    )
    os.set_blocking(_fd(process.stdin), False)
    return process


def _ended(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group, and reap it. One that has ended by itself keeps its exit code."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    # A sandbox that has closed its pipe is about to end; how it ends is what is said about it.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.2)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _fd(pipe: Any) -> int:
    return int(pipe.fileno())
