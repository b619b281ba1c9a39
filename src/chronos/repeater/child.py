"""One running command: its session, its pipes, its end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

from chronos.repeater.machine import ERR, OUT, CannotStart

READ_BYTES = 65_536
REST_S = 1.0
"""How long output is still read after a group has ended: somebody who left the group may hold the pipe."""

REST_BYTES_MAX = 1024 * 1024
"""No pipe holds more."""


class Child:
    """A command in a session of its own, so that it can be ended with everything it has started.

    Attributes:
        streams: Descriptor → stream, for those that are still open.
        exit_code: None while it runs.
        rest_until_s: When to stop reading, once it has ended.
        rest_bytes: How much may be left to read then.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], stdin: int | IO[bytes]) -> None:
        self._process = _started(argv, env, stdin)
        self.pid = self._process.pid
        self.streams = {_fd(self._process.stdout): OUT, _fd(self._process.stderr): ERR}
        self.exit_code: int | None = None
        self.rest_until_s = 0.0
        self.rest_bytes = REST_BYTES_MAX

    def read(self, fd: int) -> bytes:
        """Return what there is on a stream that can be read; nothing at its end, and it is closed then."""
        try:
            data = os.read(fd, READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._close(fd)
        if self.exit_code is not None:
            self.rest_bytes -= len(data)
        return data

    def reap(self) -> bool:
        """Return whether the command has ended. What it leaves behind in its group is ended before it is reaped."""
        if self.exit_code is None and self._has_exited():
            # While it is a zombie its number cannot belong to anybody else.
            send(self.pid, signal.SIGKILL)
            self.exit_code = self._process.wait()
        return self.exit_code is not None

    def abandon(self) -> None:
        """Let go of a command that has been killed."""
        self.exit_code = self._process.wait() if self.exit_code is None else self.exit_code
        self.close()

    def close(self) -> None:
        """Let go of the pipes."""
        for fd in list(self.streams):
            self._close(fd)

    def _has_exited(self) -> bool:
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._process.poll() is not None
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return True

    def _close(self, fd: int) -> None:
        stream = self.streams.pop(fd)
        pipe = self._process.stdout if stream == OUT else self._process.stderr
        if pipe is not None:
            pipe.close()


def send(pgid: int, number: int) -> None:
    """Send a signal to a whole group; one that is gone is no error."""
    # macOS says PermissionError of a group of zombies.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, number)


def _started(argv: Sequence[str], env: Mapping[str, str], stdin: int | IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - what to run is what the person typed; no shell reads it
            list(argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            start_new_session=True,
            bufsize=0,
        )
    except FileNotFoundError:
        raise CannotStart(127, f"{argv[0]}: command not found") from None
    except (OSError, ValueError) as exc:  # ValueError: a NUL in an argument
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise CannotStart(126, f"{argv[0]}: {why}") from None


def _fd(pipe: IO[bytes] | None) -> int:
    assert pipe is not None
    return pipe.fileno()
