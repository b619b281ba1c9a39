"""Plug-ins as the engine knows them: a mode, a machine, a listener. What they answer is checked here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chronos.repeater.engine import Report
from chronos.repeater.machine import OUT, CannotStart, Event, Machine
from chronos.repeater.modes.bounds import WAIT_S_MAX
from chronos.repeater.plugins.port import Plugged, PluginFailed
from chronos.repeater.port import Moment, Run
from chronos.repeater.showing import Json

Print = Callable[[int, bytes], None]

TEXT_MAX = 1024 * 1024
WORDS_MAX = 10_000


class PluginMode:
    """A mode whose waits a scheduler of somebody else says, counted from the end of each run."""

    def __init__(self, plugged: Plugged) -> None:
        self._plugged = plugged

    def first_s(self, now: Moment) -> float:
        return now.monotonic_s + self._wait_s(self._plugged.ask("first_s"))

    def next_s(self, last: Run, now: Moment) -> float | None:
        answer = self._plugged.ask("next_s", last)
        return None if answer is None else max(now.monotonic_s, last.ended_s + self._wait_s(answer))

    def describe(self) -> str:
        header = self._plugged.header
        return f"{header.name} {header.version}, {header.description}"

    def _wait_s(self, answer: Any) -> float:
        is_number = isinstance(answer, int | float) and not isinstance(answer, bool)
        if is_number and 0 <= answer <= WAIT_S_MAX:
            return float(answer)
        shown = repr(answer)[:100]
        raise PluginFailed(self._plugged.header.name, f"it answered {shown}; a wait is a number of seconds, 0 or more")


class PluginMachine:
    """A machine that starts what an executor of somebody else makes of the command.

    Where the executor fails, the run cannot be started, and fails with exit code 126.
    """

    def __init__(self, machine: Machine, plugged: Plugged) -> None:
        self._machine = machine
        self._plugged = plugged

    def now(self) -> Moment:
        return self._machine.now()

    def start(self, argv: Sequence[str], env: Mapping[str, str]) -> int:
        return self._machine.start(self._command(argv, env), env)

    def end(self, child: int, *, now: bool) -> None:
        self._machine.end(child, now=now)

    def wait(self, until_s: float | None) -> list[Event]:
        return self._machine.wait(until_s)

    def print(self, stream: int, data: bytes) -> None:
        self._machine.print(stream, data)

    def suspend(self) -> float:
        return self._machine.suspend()

    def _command(self, argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
        name = self._plugged.header.name
        try:
            answer = self._plugged.ask("command", list(argv), dict(env))
        except PluginFailed as exc:
            raise CannotStart(126, str(exc)) from None
        words = list(answer) if isinstance(answer, list | tuple) else []
        if not 0 < len(words) <= WORDS_MAX or not all(isinstance(word, str) for word in words):
            shown = repr(answer)[:100]
            raise CannotStart(126, f"plug-in `{name}` failed: it answered {shown}; a command is a list of words")
        return words


class PluginOutput(Json):
    """Shows of each run what an output of somebody else makes of it, and nothing of the command's own."""

    def __init__(self, to: Print, timeout_s: float | None, plugged: Plugged) -> None:
        super().__init__(to, timeout_s)
        self._plugged = plugged

    def ended(self, report: Report) -> None:
        answer = self._plugged.ask("process", self._object(report))
        if answer is not None and (not isinstance(answer, str) or len(answer) > TEXT_MAX):
            shown = f"{repr(answer)[:100]}"
            raise PluginFailed(self._plugged.header.name, f"it answered {shown}; text is a string of 1 MiB at most")
        if answer:
            self._print(OUT, answer.encode("utf-8", "surrogateescape"))
