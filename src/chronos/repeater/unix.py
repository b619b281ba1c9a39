"""The machine there is: processes, pipes, signals and a clock, waited for at one place."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import IO

from chronos.repeater.child import REST_S, Child, send
from chronos.repeater.machine import ERR, OUT, Closed, Ended, Event, Steered, Told, Wrote
from chronos.repeater.outlet import Outlet
from chronos.repeater.port import Moment
from chronos.timing.clock import Clock

TURN_S_MAX = 30.0
"""No wait is longer: the wall clock may be set meanwhile."""

LAST_WORDS_S = 1.0
"""How long the reader of our output may take for what is left when we end early."""

ASKS_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
Input = Callable[[], IO[bytes]]
_Handler = Callable[[int, FrameType | None], object] | int | None


class UnixMachine:
    """Use it as a context: it takes the signals while it is on, and leaves no child behind.

    Args:
        stdin: Opens what a child reads; None: nothing.
    """

    def __init__(self, clock: Clock, stdin: Input | None = None) -> None:
        self._clock = clock
        self._stdin = stdin
        self._children: dict[int, Child] = {}
        self._outlets = {OUT: Outlet(1), ERR: Outlet(2)}
        self._told: deque[int] = deque()
        self._steered: deque[Steered] = deque()
        self._child_ended = False
        self._closed_told = False
        self._asked = 0
        self._before: dict[int, _Handler] = {}
        self._wake_read, self._wake_write = -1, -1
        self._wakeup_before = -1
        self._environment = dict(os.environ)

    def __enter__(self) -> UnixMachine:
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._wakeup_before = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (*ASKS_TO_END, signal.SIGCHLD, signal.SIGTSTP):
            # What the shell has set to be ignored (nohup, a job without a terminal) stays so.
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGCHLD:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._to_all(signal.SIGKILL)
        for child in self._children.values():
            child.abandon()
        self._last_words()
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def now(self) -> Moment:
        return Moment(self._clock.boottime(), self._clock.time())

    def start(self, argv: Sequence[str], env: Mapping[str, str]) -> int:
        environment = {**self._environment, **env}
        if self._stdin is None:
            child = Child(argv, environment, subprocess.DEVNULL)
        else:
            with self._stdin() as stdin:
                child = Child(argv, environment, stdin)
        self._children[child.pid] = child
        return child.pid

    def end(self, child: int, *, now: bool) -> None:
        if child in self._children and self._children[child].exit_code is None:
            send(child, signal.SIGKILL if now else signal.SIGTERM)
            if not now:
                send(child, signal.SIGCONT)  # one that is stopped would not hear it

    def print(self, stream: int, data: bytes) -> None:
        self._outlets[stream].put(data)

    def wait(self, until_s: float | None) -> list[Event]:
        readable, writable = self._awaited()
        ready, flushable, _ = select.select(readable, writable, [], self._patience_s(until_s))
        for outlet in self._outlets.values():
            if outlet.fd in flushable:
                outlet.flush()
        if self._wake_read in ready:
            self._drain_wakeup()
        return [*self._read(ready), *self._ended(), *self._signals()]

    def steer(self, do: Callable[[Moment], None]) -> None:
        """Let the engine do something on its next turn, which comes at once. From any thread."""
        self._steered.append(Steered(do))
        self.wake()

    def wake(self) -> None:
        """Let `wait` return early. Any thread may call it, as long as the machine is on."""
        with suppress(BlockingIOError):  # it is full: awake already
            os.write(self._wake_write, b"\0")

    def suspend(self) -> float:
        self._to_all(signal.SIGSTOP)
        began_s = self._clock.boottime()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._to_all(signal.SIGCONT)
        return self._clock.boottime() - began_s

    def _to_all(self, number: int) -> None:
        for child in self._children.values():
            if child.exit_code is None:
                send(child.pid, number)

    def _awaited(self) -> tuple[list[int], list[int]]:
        """Return the descriptors to read and to write. A stream whose reader is slow is not read either."""
        readable = [self._wake_read]
        for child in self._children.values():
            readable += [fd for fd, stream in child.streams.items() if not self._outlets[stream].is_full]
        return readable, [outlet.fd for outlet in self._outlets.values() if outlet.is_pending]

    def _patience_s(self, until_s: float | None) -> float:
        now_s = self._clock.boottime()
        ends = [now_s + TURN_S_MAX, *([] if until_s is None else [until_s])]
        ends += [child.rest_until_s for child in self._children.values() if child.exit_code is not None]
        if self._told or self._steered:
            return 0.0
        return max(0.0, min(ends) - now_s)

    def _drain_wakeup(self) -> None:
        # Where we are not on the main thread, the signal has woken us before `_note` was called.
        self._child_ended = True
        try:
            while os.read(self._wake_read, 512):
                pass
        except BlockingIOError:
            pass

    def _read(self, ready: list[int]) -> list[Event]:
        found: list[Event] = []
        for child in list(self._children.values()):
            for fd, stream in list(child.streams.items()):
                if fd in ready and (data := child.read(fd)):
                    found.append(Wrote(child.pid, stream, data))
        return found

    def _ended(self) -> list[Event]:
        """Return the children that have ended and whose output has been read to its end."""
        if self._child_ended:
            self._child_ended = False
            for child in self._children.values():
                if child.exit_code is None and child.reap():
                    child.rest_until_s = self._clock.boottime() + REST_S
        found: list[Event] = []
        for child in [each for each in self._children.values() if each.exit_code is not None]:
            if not child.streams or self._is_enough(child):
                child.close()
                del self._children[child.pid]
                assert child.exit_code is not None
                found.append(Ended(child.pid, child.exit_code))
        return found

    def _is_enough(self, child: Child) -> bool:
        """Whether to wait no longer for the rest of the output of a command that has ended."""
        if self._clock.boottime() < child.rest_until_s:
            return False
        # What a slow reader has kept us from reading is still in the pipe, unless we are asked to end.
        is_held = any(self._outlets[stream].is_full for stream in child.streams.values())
        if is_held and child.rest_bytes > 0 and not self._asked:
            child.rest_until_s = self._clock.boottime() + REST_S
            return False
        return True

    def _signals(self) -> list[Event]:
        found: list[Event] = []
        while self._told:
            found.append(Told(self._told.popleft()))
        while self._steered:
            found.append(self._steered.popleft())
        if self._outlets[OUT].is_closed and not self._closed_told:
            self._closed_told = True
            found.append(Closed(self._outlets[OUT].reason))
        return found

    def _note(self, number: int, _frame: FrameType | None) -> None:
        """Take a signal. It only takes note of it, unless it is the second time that we are asked to end."""
        if number == signal.SIGCHLD:
            self._child_ended = True
            return
        self._told.append(number)
        self.wake()
        if number in ASKS_TO_END:
            self._asked += 1
            if self._asked > 1:
                # At once, even where we hang in a write to a terminal that takes nothing.
                self._to_all(signal.SIGKILL)
            if self._asked > 2:
                os._exit(130)

    def _last_words(self) -> None:
        deadline_s = self._clock.boottime() + LAST_WORDS_S if self._asked else None
        pending = [outlet for outlet in self._outlets.values() if outlet.is_pending]
        while pending:
            left_s = None if deadline_s is None else deadline_s - self._clock.boottime()
            if left_s is not None and left_s <= 0:
                return
            select.select([], [outlet.fd for outlet in pending], [], TURN_S_MAX if left_s is None else left_s)
            for outlet in pending:
                outlet.flush()
            pending = [outlet for outlet in pending if outlet.is_pending]
