"""Gives attempts their callback address, and reads it when it comes back."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.dispatch.http.answer import DEADLINE_US
from chronos.dispatch.port import Deliver, Delivery, Outcome, Refused
from chronos.dispatch.redaction import secrets_in_play
from chronos.dispatch.references import references_in
from chronos.dispatch.template import blank
from chronos.errors import JobInvalid
from chronos.features.callbacks.rules import Ticket, is_on_loopback, ticket_of, token_of
from chronos.model.job import JobSpec
from chronos.model.premises import Entrance
from chronos.model.principal import Principal
from chronos.model.target import Completion, HttpTarget, Target
from chronos.plugin import Action
from chronos.timing.clock import Clock
from chronos.timing.duration import DAY_US, parse_duration

PATH = "/api/v1/callbacks"
FIELD = "target.completion"
LATE_US = DAY_US
"""For so long after its deadline an attempt's address is still answered: that the result came too late."""

_WRITES = frozenset({Action.CREATE_JOB, Action.UPDATE_JOB})


class Callbacks:
    """The addresses at which targets report."""

    def __init__(self, key: bytes, entrance: Entrance, clock: Clock) -> None:
        self._key = key
        self._entrance = entrance
        self._clock = clock

    async def admit(self, action: Action, spec: JobSpec, _: Principal) -> None:
        """Refuse a job whose target could never report."""
        target = _reporting(spec.target or spec.webhook)
        if action not in _WRITES or target is None or references_in(target.url):
            return
        if why := self._unreachable(target):
            raise JobInvalid(why, field=FIELD)

    async def around(self, delivery: Delivery, deliver: Deliver) -> Outcome:
        """Deliver with the attempt's address, whose token stays out of everything that is kept."""
        target = _reporting(delivery.target)
        if target is None:
            return await deliver(delivery)
        if why := self._unreachable(target):
            return Refused(why, "callback", permanent=True)
        token = token_of(self._key, Ticket(delivery.execution_id, delivery.attempt, _expires_s(delivery, target)))
        with secrets_in_play([token]):
            return await deliver(replace(delivery, callback=f"{self._base()}{PATH}?token={token}"))

    def concerns(self, delivery: Delivery) -> bool:
        """Whether the target reports later."""
        return _reporting(delivery.target) is not None

    def read(self, token: str) -> Ticket:
        """Return which attempt a token speaks for.

        Raises:
            CallbackRefused: None: it is forged or expired.
        """
        return ticket_of(self._key, token, self._clock.time())

    def _base(self) -> str:
        return (self._entrance.public_url or self._entrance.listener_url).rstrip("/")

    def _unreachable(self, target: HttpTarget) -> str:
        """Return why the target cannot report to us; empty when it may be able to."""
        base = self._base()
        if not base:
            return (
                f"`{FIELD}: callback` needs an address at which targets reach this server, which listens on all of "
                "the machine's: set `server.public_url`."
            )
        if self._entrance.public_url or not is_on_loopback(base) or is_on_loopback(blank(target.url)):
            return ""
        return (
            f"`{FIELD}: callback` cannot work: this server listens on {base} only, where no target of another "
            "machine reaches it. Set `server.public_url` to the address at which targets do."
        )


async def refuse_all(action: Action, spec: JobSpec, _: Principal) -> None:
    """Refuse jobs whose targets would report, where nobody listens."""
    if action in _WRITES and _reporting(spec.target or spec.webhook) is not None:
        raise JobInvalid(f"`{FIELD}: callback` is switched off here (`callbacks.enabled: false`).", field=FIELD)


def _reporting(target: Target | None) -> HttpTarget | None:
    """Return the target if it is one that reports later."""
    return target if isinstance(target, HttpTarget) and target.completion is Completion.CALLBACK else None


def _expires_s(delivery: Delivery, target: HttpTarget) -> int:
    """Return the same instant whenever it is asked for the same attempt."""
    deadline_us = parse_duration(target.deadline) if target.deadline else DEADLINE_US
    return (delivery.not_before_us + delivery.timeout_us + deadline_us + LATE_US) // 1_000_000
