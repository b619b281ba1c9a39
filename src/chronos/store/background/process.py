"""The server's end: starts the process, speaks with it, and knows when it is gone."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chronos import __version__, errors
from chronos.frames import FrameReader, ProtocolBroken, decoded, framed
from chronos.store.background import protocol
from chronos.store.background.protocol import Answer, Closed, Do, Failed, Request, SegmentIs, StateIs

ANSWER_S = 300.0
"""Who does not answer for so long is ended: to find a million rows by their jobs takes a slow disk less."""
PATIENT_S = 20.0
"""Who may take long, and gets nothing of the cores for so long, is ended, too: meanwhile memory fills."""
END_S = 10.0

_ERRORS = (errors.StorageFull, errors.StateDamaged, errors.FormatUnreadable, errors.LogFailed)
_BY_SLUG: dict[str, type[errors.ChronosError]] = {error.slug: error for error in _ERRORS}
_RECEIVED_BYTES = 1 << 16


class Lost(Exception):
    """The process is gone; what it was asked for last was done, or was not. It writes nothing any more."""


class BackgroundProcess:
    """The process, started. Belongs to one thread, which has to live as long as it.

    Args:
        folder: What it locks: no other process that writes there runs beside it.

    Attributes:
        is_patient: Whether what it is asked for now may take long when others need the cores.
        is_lost: Whether it is gone.

    Raises:
        OSError: It could not be started.
    """

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, "-P", "-m", "chronos.store.background", __version__, str(number), str(folder)]
            try:
                self._child = subprocess.Popen(  # noqa: S603 - our own interpreter, our own words
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[number]
                )
            except BaseException:
                ours.close()
                raise
        self._socket = ours
        self._reader = FrameReader(protocol.FRAME_BYTES_MAX)
        self.is_patient = self.is_lost = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def write(self, rows: Iterable[protocol.Row], request: Request) -> StateIs | SegmentIs | Closed:
        """Tell it rows, and what to do with them; return its answer.

        Raises:
            Lost: It is gone.
            StorageFull, StateDamaged, FormatUnreadable, LogFailed: It was not done.
        """
        if self.is_lost:
            raise Lost
        self._socket.settimeout(PATIENT_S if self.is_patient else ANSWER_S)
        try:
            for message in rows:
                self._socket.sendall(framed(message, protocol.FRAME_BYTES_MAX))
            self._socket.sendall(framed(Do(request, self.is_patient), protocol.FRAME_BYTES_MAX))
            answer = self._answer()
        except (OSError, ProtocolBroken) as exc:
            self.end()
            raise Lost(str(exc)) from exc
        if isinstance(answer, Failed):
            raise _BY_SLUG.get(answer.slug, errors.LogFailed)(answer.message)
        return answer

    def ask(self, request: Request) -> Any:
        """Have something done that needs no rows; return its answer, as `write` does."""
        return self.write((), request)

    def _answer(self) -> Answer:
        while True:
            data = self._socket.recv(_RECEIVED_BYTES)
            if not data:
                raise ProtocolBroken("it has ended")
            if frames := self._reader.feed(data):
                answer: Answer = decoded(protocol.answer, frames[0])
                return answer

    def end(self) -> None:
        """End it at once. What it has not committed will never be.

        Raises:
            LogFailed: It does not end: nobody can say what it still writes.
        """
        self.is_lost = True
        self._socket.close()
        self._child.kill()
        self._reap()

    def close(self) -> None:
        """Let it end, which has nothing to do any more; at most ten seconds."""
        self.is_lost = True
        self._socket.close()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._reap()

    def _reap(self) -> None:
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            raise errors.LogFailed(
                f"The process that writes the files (pid {self.pid}) was killed and does not end; its disk may hang. "
                "Check the disk, then start again."
            ) from None
