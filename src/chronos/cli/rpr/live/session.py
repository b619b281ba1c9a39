"""The engine on a thread of its own, and what the screen may know of it and ask of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

from chronos.cli.rpr.live.errands import Errands
from chronos.cli.rpr.live.history import History, Snapshot
from chronos.repeater.agenda import Agenda
from chronos.repeater.engine import Engine
from chronos.repeater.port import Adjustable, Mode, Moment
from chronos.repeater.unix import UnixMachine
from chronos.timing.clock import Clock

SERVE_S = 0.05
"""How often it is looked whether the engine has ended, when there is no screen any more."""


class Session(Protocol):
    """What is on the screen. Nothing here waits; what is asked for is done at once by somebody else.

    Attributes:
        every_s: The interval; None where the mode decides by itself.
        may_run_now: Whether a run may be started out of turn.
    """

    @property
    def every_s(self) -> float | None: ...

    @property
    def may_run_now(self) -> bool: ...

    @property
    def is_paused(self) -> bool: ...

    @property
    def is_over(self) -> bool: ...

    def snapshot(self) -> Snapshot: ...

    def now_s(self) -> float: ...

    def attach(self, soon: Callable[[Callable[[], None]], object]) -> None:
        """Take note of how something is done soon on the main thread, from any other."""
        ...

    def wait_s(self) -> float | None:
        """Return the seconds until the next run; None when it is not known, as while one is on."""
        ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def run_now(self) -> None: ...

    def change(self, every_s: float) -> None: ...

    def quit(self) -> None: ...

    def interrupt(self) -> None: ...


class EngineSession:
    """A session with a real engine. The machine must have been entered on the main thread, which gets the signals.

    Args:
        may_run_now: False where a mode's promise to somebody else would be broken.
    """

    def __init__(
        self,
        engine: Engine,
        machine: UnixMachine,
        agenda: Agenda,
        mode: Mode,
        history: History,
        clock: Clock,
        *,
        may_run_now: bool = True,
    ) -> None:
        self._engine = engine
        self._machine = machine
        self._agenda = agenda
        self._mode = getattr(mode, "mode", mode)  # what jitter moves
        self._clock = clock
        self._every_s = self._mode.every_s if isinstance(self._mode, Adjustable) else None
        self._is_paused = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rpr-engine")
        self._end: Future[None] | None = None
        self._errands = Errands()
        engine.judge = self._errands.judge
        self.may_run_now = may_run_now
        self.snapshot = history.snapshot

    def start(self) -> None:
        """Let it begin."""
        self._end = self._thread.submit(self._engine.run)

    def finish(self) -> None:
        """End it should it still go on, and wait for that: as long as a run may take to clean up.

        What the engine has raised is raised here.
        """
        if self._end is not None and not self.is_over:
            self.quit()
            while not self.is_over:
                self._errands.serve(wait_s=SERVE_S)
        self._thread.shutdown()
        if self._end is not None:
            self._end.result()

    def attach(self, soon: Callable[[Callable[[], None]], object]) -> None:
        def wake() -> None:
            with suppress(RuntimeError):  # the screen is gone: `finish` serves
                soon(self._errands.serve)

        self._errands.wake = wake
        self._errands.serve()

    @property
    def every_s(self) -> float | None:
        return self._every_s

    @property
    def is_paused(self) -> bool:
        return self._is_paused

    @property
    def is_over(self) -> bool:
        return self._end is not None and self._end.done()

    def now_s(self) -> float:
        return self._clock.boottime()

    def wait_s(self) -> float | None:
        due_s = self._agenda.wake_s(0)
        return None if due_s is None else max(0.0, due_s - self._clock.boottime())

    def pause(self) -> None:
        self._is_paused = True
        self._machine.steer(self._engine.pause)

    def resume(self) -> None:
        self._is_paused = False
        self._machine.steer(self._engine.resume)

    def run_now(self) -> None:
        self._machine.steer(self._engine.run_now)

    def change(self, every_s: float) -> None:
        mode = self._mode
        assert isinstance(mode, Adjustable)
        self._every_s = every_s

        def change(now: Moment) -> None:
            mode.change(every_s, now)

        self._machine.steer(change)

    def quit(self) -> None:
        self._machine.steer(self._engine.quit)

    def interrupt(self) -> None:
        self._machine.steer(self._engine.interrupt)
