"""Time that costs nothing: a loop on which waiting is a jump, and a clock that reads it.

An hour's sleep takes a millisecond, a hang is an error with a sentence, and with a seed the order of
everything that could run next is drawn, so that a race found once is found again.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from datetime import UTC, datetime
from functools import wraps
from itertools import count
from typing import Any, ClassVar, NoReturn, ParamSpec, TypeVar, TypeVarTuple, overload

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Deadlock(RuntimeError):
    """Every task waits for another one, and no timer is set that could wake any of them."""


class TimeStandsStill(RuntimeError):
    """Tasks keep waking each other without ever waiting for time to pass."""


class NotUnderVirtualTime(RuntimeError):
    """Threads, sockets and child processes get no time to answer on a virtual loop."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop on which waiting costs nothing.

    When no task can run, time jumps to the next timer. With a `seed`, the callback that runs next is
    drawn from all that are ready, which explores orders a first-in-first-out loop never shows; without
    one it is the callback that has been ready for longest, timers of one instant in the order they were set.

    Attributes:
        seconds: The loop's time; starts at 0.
        steps: Callbacks run so far. Equal seeds take equal steps.
        unhandled: Exceptions that reached the loop because nobody awaited their task.

    Source:
        The technique is FoundationDB's: one seed decides everything that happens.
    """

    steps_at_one_instant_max: ClassVar[int] = 1_000_000

    # asyncio's own queue, and its wish to stop; typeshed does not show them.
    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.seconds = 0.0
        self.steps = 0
        self.unhandled: list[BaseException] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = count()
        self._order = None if seed is None else random.Random(seed)
        self._steps_here = 0
        self._is_holding = False
        self._thread = threading.get_ident()
        self.set_exception_handler(_keep_unhandled)

    def time(self) -> float:
        return self.seconds

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        # Numbered, because asyncio leaves the order of equal times to its heap.
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def _run_once(self) -> None:
        """Run callback after callback until somebody stops the loop: asyncio's way round costs as much as they do."""
        timers, ready, order = self._timers, self._ready, self._order
        while True:
            while timers and timers[0][2]._cancelled:
                heapq.heappop(timers)
            if not ready:
                self._jump()
            seconds = self.seconds
            while timers and timers[0][0] <= seconds:
                ready.append(heapq.heappop(timers)[2])
            if self._steps_here >= self.steps_at_one_instant_max:
                self._stand_still()
            if order is not None and len(ready) > 1:
                ready.rotate(-int(order.random() * len(ready)))  # `randrange` takes five times as long
            handle = ready.popleft()
            self.steps += 1
            self._steps_here += 1
            if not handle._cancelled and not (self._is_holding and self._holds(handle)):
                handle._run()
            if self._stopping:
                return

    def _holds(self, handle: asyncio.Handle) -> bool:
        """Whether a callback has been put aside instead of being run; asked only while `_is_holding`."""
        return False

    def _jump(self) -> None:
        if not self._timers:
            raise Deadlock(f"deadlock at {self.seconds:g} s: every task waits and no timer is set: {_waiting(self)}")
        if self._timers[0][0] > self.seconds:
            self.seconds = self._timers[0][0]
            self._steps_here = 0

    def _stand_still(self) -> NoReturn:
        self._steps_here = 0  # so that what is cancelled now can still end
        raise TimeStandsStill(
            f"{self.steps_at_one_instant_max:,} steps at {self.seconds:g} s and none waits: {_waiting(self)}"
        )

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if threading.get_ident() != self._thread:
            _refuse("another thread")
        return self.call_soon(callback, *args, context=context)

    def _process_events(self, event_list: object) -> None:
        """There is no selector, hence no events."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector, so nobody has to be woken."""

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""

    def run_in_executor(self, executor: object, func: Callable[[*Ts], object], *args: *Ts) -> NoReturn:
        _refuse("a thread (run_in_executor, to_thread, name look-ups)")

    def add_reader(self, fd: object, callback: Callable[[*Ts], object], *args: *Ts) -> NoReturn:
        _refuse("a file descriptor")

    def add_writer(self, fd: object, callback: Callable[[*Ts], object], *args: *Ts) -> NoReturn:
        _refuse("a file descriptor")

    async def create_connection(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("a socket")

    async def create_server(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("a socket")

    async def create_unix_connection(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("a socket")

    async def create_unix_server(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("a socket")

    async def subprocess_exec(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("a child process")

    async def subprocess_shell(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("a child process")


class VirtualClock:
    """A `Clock` that reads the running virtual loop's time, and stands still where there is none.

    Args:
        start: Wall time at the loop's second 0: an aware datetime, or seconds since the epoch.
        boottime: What `boottime` says at that moment, in seconds.
    """

    def __init__(
        self, start: datetime | float = datetime(2025, 1, 1, tzinfo=UTC), *, boottime: float = 1_000.0
    ) -> None:
        if isinstance(start, datetime):
            assert start.tzinfo is not None, "an instant without a zone is no instant"
            start = start.timestamp()
        self._wall = float(start)
        self._boot = boottime

    def time(self) -> float:
        return self._wall + _loop_seconds()

    def boottime(self) -> float:
        return self._boot + _loop_seconds()

    def now(self) -> datetime:
        """Return the wall time as an aware UTC datetime."""
        return datetime.fromtimestamp(self.time(), UTC)

    def step(self, seconds: float) -> None:
        """Set the wall clock forward, or back when negative, as an administrator or NTP does."""
        self._wall += seconds

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks at once; timers of the loop do not notice. For tests without a loop."""
        assert seconds >= 0, "time does not run back; `step` sets the wall clock"
        self._wall += seconds
        self._boot += seconds

    def suspend(self, seconds: float) -> None:
        """Close the lid for `seconds`: wall and boot time run on, the loop's timers stand still."""
        self.advance(seconds)


def run_virtual(main: Callable[[], Coroutine[Any, Any, T]], *, seed: int | None = None) -> T:
    """Run `main()` on a virtual loop of its own and return its result.

    Raises:
        Deadlock: Every task waits for another.
        TimeStandsStill: Tasks wake each other for ever at one instant.
        BaseExceptionGroup: A task nobody awaited has failed.
    """
    loop = VirtualLoop(seed)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(main())
    if loop.unhandled:
        raise BaseExceptionGroup("failed, and nobody was waiting for it", loop.unhandled)
    return result


@overload
def virtual_time(test: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T]: ...


@overload
def virtual_time(*, seed: int | None = None) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, T]]: ...


def virtual_time(test: Callable[P, Awaitable[T]] | None = None, /, *, seed: int | None = None) -> Any:
    """Make an async test a plain one that runs on a virtual loop: `@virtual_time` or `@virtual_time(seed=7)`."""

    def decorate(inner: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
        @wraps(inner)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            return run_virtual(lambda: inner(*args, **kwargs), seed=seed)

        return run

    return decorate if test is None else decorate(test)  # type: ignore[arg-type]


def _loop_seconds() -> float:
    loop = asyncio._get_running_loop()
    return loop.seconds if isinstance(loop, VirtualLoop) else 0.0


def _keep_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    assert isinstance(loop, VirtualLoop)
    loop.unhandled.append(context.get("exception") or RuntimeError(context["message"]))


def _waiting(loop: VirtualLoop) -> str:
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    return ", ".join(_where(task) for task in tasks[:10]) or "no task is left"


def _where(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    place = f"{stack[-1].f_code.co_qualname} line {stack[-1].f_lineno}" if stack else "its first line"
    return f"{task.get_name()} at {place}"


def _refuse(what: str) -> NoReturn:
    raise NotUnderVirtualTime(
        f"this needs {what}, which gets no time to answer on a virtual loop; use a fake, or run the test on a real loop"
    )
