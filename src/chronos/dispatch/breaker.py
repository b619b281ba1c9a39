"""Circuit breakers, one per namespace and host: pure state, the time is an argument.

    closed ── 5 failures in a row ──▶ open ── 30 s ──▶ half-open ── 2 successes ──▶ closed
                                       ▲                   │
                                       └──── a failure ────┘

A success is an *answer*: a 4xx says the host is alive, so it closes the circuit as a 200 does. An attempt that
says nothing about the host (cancelled, refused by a guard of our own) gives its place back and changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from enum import StrEnum

from msgspec import Struct

BREAKER = "breaker"
"""Why an attempt is not sent that a breaker holds back (`NotSent.reason`)."""
HOSTS_MAX = 10_000
"""Breakers remembered; the one untouched for longest is forgotten, which closes it."""


class Circuit(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Verdict(StrEnum):
    """What an attempt says about the host."""

    ANSWERED = "answered"
    FAILED = "failed"
    NOTHING = "nothing"


class BreakerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a circuit opens and closes."""

    enabled: bool = True
    failures: int = 5
    open_s: float = 30.0
    successes: int = 2


class BreakerState(Struct, frozen=True, kw_only=True):
    """A breaker, for people. `retry_in_s` says when an open one lets a trial through; 0 otherwise."""

    namespace: str
    host: str
    state: Circuit
    failures: int
    retry_in_s: float


class Ticket(Struct, frozen=True):
    """The right to one attempt, given back with `record`."""

    namespace: str
    host: str
    era: int


class _Breaker(Struct):
    state: Circuit = Circuit.CLOSED
    failures: int = 0
    successes: int = 0
    until_s: float = 0.0
    trial: bool = False
    era: int = 0


class Breakers:
    """All breakers of this process. Times are seconds of a clock that never steps back.

    Attributes:
        remembered: The hosts of which a failure is remembered, to look at. Of another one the time does not matter,
            and nothing has to be recorded but that it failed.
    """

    def __init__(self, settings: BreakerSettings | None = None) -> None:
        self._settings = settings or BreakerSettings()
        self._breakers: OrderedDict[tuple[str, str], _Breaker] = OrderedDict()
        self._era = 0
        self.remembered: Collection[tuple[str, str]] = self._breakers.keys()

    def admit(self, namespace: str, host: str, now_s: float) -> Ticket | float:
        """Return a ticket, or how many seconds from now it makes sense to ask again."""
        breaker = self._breakers.get((namespace, host))
        if breaker is None or not self._settings.enabled:
            return Ticket(namespace, host, 0)
        if breaker.state is Circuit.OPEN:
            if now_s < breaker.until_s:
                return breaker.until_s - now_s
            self._enter(breaker, Circuit.HALF_OPEN)
        if breaker.state is Circuit.HALF_OPEN:
            if breaker.trial:
                return 1.0
            breaker.trial = True
        return Ticket(namespace, host, breaker.era)

    def record(self, ticket: Ticket, verdict: Verdict, now_s: float) -> None:
        """Take a ticket back with what its attempt says. Must be called for every ticket, exactly once."""
        if not self._settings.enabled:
            return
        key = (ticket.namespace, ticket.host)
        breaker = self._breakers.get(key)
        if breaker is None:
            if verdict is Verdict.FAILED:
                self._remember(key, now_s)
            return
        self._breakers.move_to_end(key)
        # An attempt admitted before the circuit last changed is no trial of what it is now.
        if ticket.era == breaker.era:
            self._judge(key, breaker, verdict, now_s)

    def states(self, now_s: float) -> list[BreakerState]:
        """Return every breaker that has seen a failure, by namespace and host."""
        return [
            BreakerState(
                namespace=namespace,
                host=host,
                state=breaker.state,
                failures=breaker.failures,
                retry_in_s=max(0.0, breaker.until_s - now_s) if breaker.state is Circuit.OPEN else 0.0,
            )
            for (namespace, host), breaker in sorted(self._breakers.items())
        ]

    def reset(self, namespace: str, host: str) -> bool:
        """Close a breaker. Returns whether there was one."""
        return self._breakers.pop((namespace, host), None) is not None

    def _remember(self, key: tuple[str, str], now_s: float) -> None:
        breaker = self._breakers[key] = _Breaker()
        self._judge(key, breaker, Verdict.FAILED, now_s)
        while len(self._breakers) > HOSTS_MAX:
            self._breakers.popitem(last=False)

    def _judge(self, key: tuple[str, str], breaker: _Breaker, verdict: Verdict, now_s: float) -> None:
        if breaker.state is Circuit.HALF_OPEN:
            breaker.trial = False
        if verdict is Verdict.FAILED:
            self._on_failure(breaker, now_s)
        elif verdict is Verdict.ANSWERED:
            breaker.successes += 1
            if breaker.state is Circuit.CLOSED or breaker.successes >= self._settings.successes:
                del self._breakers[key]

    def _on_failure(self, breaker: _Breaker, now_s: float) -> None:
        breaker.failures += 1
        if breaker.state is Circuit.HALF_OPEN or breaker.failures >= self._settings.failures:
            self._enter(breaker, Circuit.OPEN)
            breaker.until_s = now_s + self._settings.open_s

    def _enter(self, breaker: _Breaker, state: Circuit) -> None:
        self._era += 1
        breaker.state, breaker.era = state, self._era
        breaker.successes, breaker.trial = 0, False
