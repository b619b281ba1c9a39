"""The loop of a simulation: virtual time, threads played in it, and every task known by the life it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, Protocol, TypeVarTuple, cast

from chronos.testing.virtual_time import VirtualLoop

Ts = TypeVarTuple("Ts")

ASIDE_S = 0.0005
"""How long work in a thread that is not the disk's takes."""


class Owner(Protocol):
    """What tasks belong to: one life of a node."""

    @property
    def dead(self) -> bool: ...
    @property
    def tasks(self) -> set[asyncio.Task[Any]]: ...


OWNER: ContextVar[Owner | None] = ContextVar("simulated_owner", default=None)
"""The life that the running code belongs to; tasks and timers inherit it."""


class SimLoop(VirtualLoop):
    """A `VirtualLoop` on which threads take virtual time, and a life can be ended with everything it has begun.

    Attributes:
        latency: Seconds that a piece of work takes in the thread of this name; the work is done when they are over.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.latency: Callable[[str], float] = lambda name: ASIDE_S
        self._busy: dict[object, float] = {}  # by executor, kept alive: an address would come to mean the next one
        self._given: dict[Owner, float] = {}
        self._tasks_made = 0
        self._stopped: dict[Owner, list[asyncio.Handle]] = {}
        self.set_task_factory(cast(Any, _owned))
        self.set_exception_handler(_note_unhandled)

    def run_in_executor(  # type: ignore[override]  # the loop below refuses threads; this one plays them
        self, executor: object, func: Callable[[*Ts], Any], *args: *Ts
    ) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = self.create_future()
        begins = self.seconds
        if isinstance(executor, ThreadPoolExecutor) and executor._max_workers == 1:
            begins = max(begins, self._busy.get(executor, 0.0))
        ends = begins + self.latency(getattr(executor, "_thread_name_prefix", ""))
        if executor is not None:
            self._busy[executor] = ends
        owner = OWNER.get()
        if owner is not None:
            self._given[owner] = max(ends, self._given.get(owner, 0.0))
        self.call_at(ends, _work, answer, func, args)
        return answer

    def busy_until(self, owner: Owner) -> float:
        """Return the loop second at which everything that a life has given to threads is done; 0 for nothing."""
        return self._given.get(owner, 0.0)

    def stop_owner(self, owner: Owner) -> None:
        """Let nothing of a life run, as SIGSTOP does: what comes and what becomes due waits for `go_on`."""
        self._stopped.setdefault(owner, [])
        self._is_holding = True

    def go_on(self, owner: Owner) -> None:
        """Let everything of a life run that has waited since `stop_owner`."""
        self._ready.extend(self._stopped.pop(owner, ()))
        self._is_holding = bool(self._stopped)

    def _holds(self, handle: asyncio.Handle) -> bool:
        context: Context = handle._context  # type: ignore[attr-defined]  # asyncio's own; typeshed does not show it
        owner = context.get(OWNER)
        held = self._stopped.get(owner) if owner is not None else None
        if held is None:
            return False
        held.append(handle)
        return True

    def number_of_task(self) -> int:
        """Return the next task's number."""
        self._tasks_made += 1
        return self._tasks_made


class _Task(asyncio.Task[Any]):
    """A task that lies in sets where its number puts it, not its address: task groups cancel in a set's order."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], loop: SimLoop, context: Context) -> None:
        self._number = number
        super().__init__(coro, loop=loop, context=context)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


def _work(answer: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Do it, whether anybody still waits or not: a thread does not hear of cancellations."""
    try:
        result = func(*args)
    except BaseException as exc:  # it belongs to whoever waits
        if not answer.done():
            answer.set_exception(exc)
            answer.exception()
        return
    if not answer.done():
        answer.set_result(result)


def _owned(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], *, context: Context | None = None
) -> asyncio.Task[Any]:
    assert isinstance(loop, SimLoop)
    context = context or copy_context()
    task = _Task(loop.number_of_task(), coro, loop, context)
    owner = context.get(OWNER)
    if owner is not None:
        owner.tasks.add(task)
        task.add_done_callback(partial(_ended, owner))
    return task


def _ended(owner: Owner, task: asyncio.Task[Any]) -> None:
    owner.tasks.discard(task)
    if owner.dead and not task.cancelled():
        task.exception()  # the last words of a process that was killed; nobody has to hear them


def _note_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    assert isinstance(loop, VirtualLoop)
    handle = context.get("handle")
    owner = handle._context.get(OWNER) if handle is not None else OWNER.get()
    if owner is not None and owner.dead:
        return
    loop.unhandled.append(context.get("exception") or RuntimeError(context["message"]))
