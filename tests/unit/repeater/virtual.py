"""A machine on virtual time: children take as long as they are told to, and waiting costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from chronos.repeater.engine import Report
from chronos.repeater.machine import CannotStart, Ended, Event, Steered, Told, Wrote
from chronos.repeater.port import Moment

EPOCH_S = 1_700_000_000.0
TURNS_MAX = 20_000_000


class Script(NamedTuple):
    """How one run goes.

    Attributes:
        deaf: Does not end when it is asked to.
    """

    takes_s: float = 0.0
    exit_code: int = 0
    out: bytes = b""
    deaf: bool = False
    missing: bool = False


@dataclass
class _Child:
    script: Script
    ends_s: float
    exit_code: int
    told: bool = False


@dataclass
class VirtualMachine:
    """Attributes:
    starts_s: When runs were started, in virtual seconds from 0.
    environments: What was added to the environment of each.
    killed: Children that had to be killed.
    """

    script: Callable[[int], Script]
    signals: list[tuple[float, int]] = field(default_factory=list)
    steers: list[tuple[float, Callable[[Moment], None]]] = field(default_factory=list)
    keeps: int = 1_000_000
    now_s: float = 0.0
    starts_s: list[float] = field(default_factory=list)
    environments: list[Mapping[str, str]] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    printed: list[tuple[int, bytes]] = field(default_factory=list)
    suspended_s: float = 0.0
    started: int = 0
    most_at_once: int = 0
    turns: int = 0
    _children: dict[int, _Child] = field(default_factory=dict)

    def now(self) -> Moment:
        return Moment(self.now_s, EPOCH_S + self.now_s)

    def start(self, argv: Sequence[str], env: Mapping[str, str]) -> int:
        self.started += 1
        script = self.script(self.started)
        if len(self.starts_s) < self.keeps:
            self.starts_s.append(self.now_s)
            self.environments.append(env)
        if script.missing:
            raise CannotStart(127, f"{argv[0]}: command not found")
        self._children[self.started] = _Child(script, self.now_s + script.takes_s, script.exit_code)
        self.most_at_once = max(self.most_at_once, len(self._children))
        return self.started

    def end(self, child: int, *, now: bool) -> None:
        if child not in self._children:
            return
        if now:
            self.killed.append(child)
        if now or not self._children[child].script.deaf:
            self._children[child].ends_s = self.now_s
            self._children[child].exit_code = -9 if now else -15

    def wait(self, until_s: float | None) -> list[Event]:
        self.turns += 1
        assert self.turns < TURNS_MAX, "the engine turns for ever"
        ends = [child.ends_s for child in self._children.values()]
        signals = [at for at, _ in (*self.signals, *self.steers)]
        instants = [*ends, *signals, *([] if until_s is None else [until_s])]
        assert instants, "nothing will ever happen"
        self.now_s = max(self.now_s, min(instants))
        return [*self._signals(), *self._steered(), *self._output_and_ends()]

    def print(self, stream: int, data: bytes) -> None:
        self.printed.append((stream, data))

    def suspend(self) -> float:
        self.now_s += self.suspended_s
        return self.suspended_s

    def _signals(self) -> list[Event]:
        due = [number for at, number in self.signals if at <= self.now_s]
        self.signals = [(at, number) for at, number in self.signals if at > self.now_s]
        return [Told(number) for number in due]

    def _steered(self) -> list[Event]:
        due = [do for at, do in self.steers if at <= self.now_s]
        self.steers = [(at, do) for at, do in self.steers if at > self.now_s]
        return [Steered(do) for do in due]

    def _output_and_ends(self) -> list[Event]:
        found: list[Event] = []
        for number, child in list(self._children.items()):
            if child.script.out and not child.told:
                child.told = True
                found.append(Wrote(number, 1, child.script.out))
            if child.ends_s <= self.now_s:
                del self._children[number]
                found.append(Ended(number, child.exit_code))
        return found


@dataclass
class Recorder:
    """A listener that keeps what it is told."""

    reports: list[Report] = field(default_factory=list)
    written: list[tuple[int, int, bytes]] = field(default_factory=list)

    def wrote(self, number: int, stream: int, data: bytes) -> None:
        self.written.append((number, stream, data))

    def ended(self, report: Report) -> None:
        self.reports.append(report)
