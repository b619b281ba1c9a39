"""Work that targets have taken on: they have answered 202, and report by themselves, whoever runs by then.

A target tells what it has seen; what it may do is what `docs/howto/run-long-jobs.md` asks of one, and some that it
asks nobody to do: it falls silent, comes back when nobody waits any more, ignores that it is to stop.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from chronos.dispatch.port import Delivery
from chronos.errors import AttemptEnded, CallbackRefused, ChronosError, Draining, ExecutionNotFound
from chronos.model.principal import ANONYMOUS
from chronos.model.target import HttpTarget
from chronos.plugin import Call
from chronos.testing.simulation.evidence import Word
from chronos.testing.simulation.load import CANARY

if TYPE_CHECKING:
    from chronos.testing.simulation.node import SimLife
    from chronos.testing.simulation.world import World

TRIES_MAX = 60
"""How often a result is reported until somebody has heard it, about once a second."""

REPORT = "report_execution"
OK = "ok"
OVER = frozenset({AttemptEnded.slug, ExecutionNotFound.slug})


class Manner(StrEnum):
    """How a target goes about its work."""

    DONE = "done"
    FAILED = "failed"
    FAILED_FOR_GOOD = "failed_for_good"
    HASTY = "hasty"  # its result comes before its answer
    SILENT = "silent"
    BACK_LATE = "back_late"  # silent for longer than it may be, and then done
    STUBBORN = "stubborn"  # goes on though it is to stop


_MANNERS = {
    Manner.DONE: 10,
    Manner.FAILED: 2,
    Manner.FAILED_FOR_GOOD: 1,
    Manner.HASTY: 2,
    Manner.SILENT: 2,
    Manner.BACK_LATE: 2,
    Manner.STUBBORN: 3,
}
_QUIET = frozenset({Manner.SILENT, Manner.BACK_LATE})


class _Work:
    """One piece of work.

    Attributes:
        delivery: The request that it reports on: the last one that came for this execution while it went on.
        talks: It says more than numbers; to take secrets out of that costs more than all the rest.
        told: Somebody has asked it to stop.
    """

    def __init__(self, delivery: Delivery, manner: Manner, *, talks: bool) -> None:
        self.delivery = delivery
        self.manner = manner
        self.talks = talks
        self.told = False

    def words(self, what: str) -> str:
        """Return what it says besides numbers; it repeats the credential that came with the request, if one did."""
        target = self.delivery.target
        has_credential = isinstance(target, HttpTarget) and target.auth is not None
        return f"{what} {CANARY}" if has_credential else what if self.talks else ""


class Works:
    """What the targets of a world have taken on. It outlives every process."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._going: dict[str, _Work] = {}

    def take_on(self, delivery: Delivery) -> None:
        """Begin the work that a request asks for; while it goes on already, report to the newer address."""
        if not delivery.callback:
            self._world.broken("I11", f"{delivery.execution_id} was sent without an address to report to")
            return
        known = self._going.get(delivery.execution_id)
        if known is not None and known.manner not in _QUIET:
            known.delivery = delivery
            return
        draw = self._world.stream(f"work {delivery.execution_id} {delivery.attempt}")
        [manner] = draw.choices(list(_MANNERS), list(_MANNERS.values()))
        work = self._going[delivery.execution_id] = _Work(delivery, manner, talks=draw.random() < 0.2)
        length_s, every_s = draw.uniform(0.3, 6.0), draw.choice((0.5, 1.2, 1.6, 1.8))
        # It belongs to nobody's process.
        self._world.begin_outside(self._run(work, length_s, every_s, twice=draw.random() < 0.2))

    def tell(self, delivery: Delivery) -> None:
        """Ask the work on an execution to stop, at its `cancel_url`."""
        work = self._going.get(delivery.execution_id)
        if work is not None:
            work.told = True

    async def _run(self, work: _Work, length_s: float, every_s: float, *, twice: bool) -> None:
        key = work.delivery.execution_id
        if work.manner is Manner.HASTY:
            await self._end(work, twice=twice)
        elif await self._goes_on(work, length_s, every_s):
            if work.manner is Manner.BACK_LATE:
                await asyncio.sleep(3 * length_s + 4)
            if work.manner is not Manner.SILENT:
                await self._end(work, twice=twice)
        if self._going.get(key) is work:
            del self._going[key]

    async def _goes_on(self, work: _Work, length_s: float, every_s: float) -> bool:
        """Work, and report how far it is; return whether it came to its end."""
        begun = self._world.seconds
        while (left_s := begun + length_s - self._world.seconds) > 0:
            await asyncio.sleep(min(every_s, left_s))
            done = min(99, int(100 * (self._world.seconds - begun) / length_s))
            word = await self._say(work, {"progress": done, "message": work.words(f"{done} of 100")})
            work.told |= word.cancelled
            if work.manner is Manner.STUBBORN:
                continue
            if word.answer in OVER:
                return False
            if work.told:
                await self._say(work, {"result": "failure", "message": work.words("stopped as asked"), "retry": False})
                return False
        return True

    async def _end(self, work: _Work, *, twice: bool) -> None:
        """Report the result until it is heard; some do not hear that it was, and report it once more."""
        body: dict[str, Any] = {"result": "success", "output": work.words("all of it")}
        if work.manner in (Manner.FAILED, Manner.FAILED_FOR_GOOD):
            body = {"result": "failure", "message": work.words("out of paper")}
            body["retry"] = work.manner is Manner.FAILED
        for _ in range(TRIES_MAX):
            word = await self._say(work, body)
            if word.answer == OK and not twice:
                return
            if word.answer in OVER:
                return
            twice &= word.answer != OK
            await asyncio.sleep(1.0)

    async def _say(self, work: _Work, body: dict[str, Any]) -> Word:
        """Send one report to whoever runs, and note what came of it."""
        world, delivery, life = self._world, work.delivery, self._world.alive()
        word = Word(
            at=world.seconds,
            life=life.number if life is not None else 0,
            job_id=delivery.job_id,
            execution_id=delivery.execution_id,
            attempt=delivery.attempt,
            result=body.get("result", ""),
        )
        if life is not None:
            await asyncio.wait([life.run(self._heard(life, delivery.callback, body, word))])
        word.ended = world.seconds
        world.evidence.words.append(word)
        said = f"{word.result or 'progress'} {word.answer or 'unheard'}{' cancelled' if word.cancelled else ''}"
        world.trace.add("word", f"{delivery.job_name} {delivery.execution_id} attempt {delivery.attempt} {said}")
        return word

    async def _heard(self, life: SimLife, address: str, body: dict[str, Any], word: Word) -> None:
        node = life.node
        assert node is not None
        answer = OK
        token = parse_qs(urlsplit(address).query)["token"][0]
        try:
            if node.house.standing.draining:
                raise Draining
            route = next(endpoint for endpoint in node.host.endpoints if endpoint.operation == REPORT)
            assert route.query is not None
            query, told = msgspec.convert({"token": token}, route.query), msgspec.convert(body, route.body)
            reply = await route.handler(Call(ANONYMOUS, "default", {}, query=query, body=told))
            word.cancelled = reply.value.cancelled
        except ChronosError as error:
            answer = error.slug
        if life.dead:
            return
        word.answer = answer
        expires_s = int(token.split(".")[2])
        if answer == CallbackRefused.slug and self._world.evidence.believed_s(self._world.seconds) <= expires_s:
            self._world.broken("I11", f"{word.execution_id}: the address of attempt {word.attempt} was refused")
