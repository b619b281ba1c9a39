"""The targets: slow, flaky, hanging, lying; and their log of what arrived, which is what counts in the end."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.http.answer import judge
from chronos.dispatch.http.dispatcher import HttpSettings
from chronos.dispatch.http.url import parse_url
from chronos.dispatch.port import Answer, Delivered, Delivery, NoAnswer, NotSent, Outcome
from chronos.model.target import HttpTarget
from chronos.testing.simulation.evidence import Arrival
from chronos.testing.simulation.profile import Fault
from chronos.timing.clock import Clock
from chronos.timing.pace import parse_retry_after

if TYPE_CHECKING:
    from chronos.testing.simulation.node import SimLife
    from chronos.testing.simulation.world import World

NEVER_S = 10_000.0
ACCEPTED = 202

# What liars say: none of it but the first two may be believed.
_WISHES = ("2", "0", "-1", "nan", "1e99", "99999999999999999999", "soon", "Thu, 01 Jan 1970 00:00:00 GMT", "", "2, 3")


class Target:
    """One host, and how it behaves. Draws are the host's own, so that hosts do not disturb each other.

    Attributes:
        down, hangs, slow, lies: What a fault has made of it for the moment.
    """

    def __init__(self, name: str, seed: str) -> None:
        self.name = name
        self.down = self.hangs = self.slow = self.lies = False
        self._draw = random.Random(seed)

    def suffer(self, kind: Fault) -> None:
        """Be down, hang, be slow or lie, until it is healed."""
        self.down = kind is Fault.TARGETS_DOWN
        self.hangs = kind is Fault.TARGETS_HANG
        self.slow = kind is Fault.TARGETS_SLOW
        self.lies = kind is Fault.TARGETS_LIE

    def answer(self) -> tuple[float, int, str | None]:
        """Return (seconds until it answers, status or 0 for a broken connection, its `Retry-After`)."""
        draw = self._draw
        seconds, status, wish = self._mood(draw)
        if self.slow:
            seconds += draw.uniform(0.5, 6)
        if self.lies or self.name == "lying":
            wish = draw.choice(_WISHES) if draw.random() < 0.7 else wish
            status = draw.choice((200, 429, 503)) if draw.random() < 0.6 else status
        if self.down:
            return draw.uniform(0.0, 0.05), draw.choice((0, 0, 503)), None
        if self.hangs:
            return NEVER_S, 0, None
        return seconds, status, wish

    def _mood(self, draw: random.Random) -> tuple[float, int, str | None]:
        quick, luck = draw.uniform(0.002, 0.06), draw.random()
        match self.name:
            case "slow":
                return draw.uniform(0.2, 4.5), 200, None
            case "flaky":
                return quick, 200 if luck < 0.6 else draw.choice((500, 503, 0, 408)), None
            case "busy":
                return (quick, 200, None) if luck < 0.7 else (quick, 429, draw.choice(("1", "3", "0.5", None)))
            case "hanging":
                return (quick, 200, None) if luck < 0.8 else (NEVER_S, 0, None)
            case "moody":
                return draw.uniform(0.0, 1.5), draw.choice((200, 200, 200, 404, 503)), None
            case "long":
                return (
                    (draw.uniform(0.002, 0.3), 202, None) if luck < 0.9 else (quick, draw.choice((200, 503, 0)), None)
                )
            case "gone":
                return quick, 200 if luck < 0.9 else draw.choice((410, 404)), None
            case "strange":
                return quick, draw.choice((200, 204, 201, 302, 418, 599)) if luck < 0.3 else 200, None
            case _:
                return quick, 200, None


class Targets:
    """Every host of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._by_host: dict[str, Target] = {}

    def of(self, host: str) -> Target:
        """Return the host, as it is from now on."""
        name = host.partition(".")[0]
        if name not in self._by_host:
            self._by_host[name] = Target(name, f"{self._world.seed}/{name}")
        return self._by_host[name]

    def some(self, draw: random.Random) -> list[Target]:
        """Return up to four of the hosts that have been called so far."""
        return [self.of(host) for host in draw.sample(sorted(self._by_host), k=min(4, len(self._by_host)))]

    def heal(self) -> None:
        """Let every host be as it was made."""
        for target in self._by_host.values():
            target.down = target.hangs = target.slow = target.lies = False


class TargetDoor:
    """A `Dispatcher` for targets of type `http`: how one life of a node reaches the targets."""

    def __init__(self, world: World, life: SimLife, guard: EgressGuard, clock: Clock, settings: HttpSettings) -> None:
        self._world = world
        self._life = life
        self._clock = clock

    async def deliver(self, delivery: Delivery) -> Outcome:
        if self._life.dead:
            return NotSent("drain")
        target = delivery.target
        assert isinstance(target, HttpTarget)
        arrival = self._arrive(delivery)
        seconds, status, wish = self._world.targets.of(parse_url(target.url).host).answer()
        if status == ACCEPTED:
            self._world.works.take_on(delivery)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            ran_us = (self._world.seconds - arrival.at) * 1e6
            arrival.answer = "timeout" if ran_us >= delivery.timeout_us - 1_000 else "cut"
            raise
        finally:
            arrival.closed = self._world.seconds
        return self._answer(arrival, target, status, wish)

    async def tell_cancelled(self, delivery: Delivery) -> Outcome | None:
        """Ask the target to stop, as the product does at its `cancel_url`."""
        target = delivery.target
        if self._life.dead or not isinstance(target, HttpTarget) or target.cancel_url is None:
            return None
        self._world.works.tell(delivery)
        return Delivered()

    def _arrive(self, delivery: Delivery) -> Arrival:
        world, life = self._world, self._life
        arrival = Arrival(
            at=world.seconds,
            clock=self._clock.time(),
            node=life.evidence.node,
            life=life.number,
            job_id=delivery.job_id,
            job_name=delivery.job_name,
            execution_id=delivery.execution_id,
            series=delivery.series,
            attempt=delivery.attempt,
            token=delivery.token,
            scheduled_s=delivery.scheduled_s,
            not_before_us=delivery.not_before_us,
        )
        world.evidence.arrivals.append(arrival)
        world.trace.add(
            "arrival",
            f"{delivery.job_name} due {delivery.scheduled_s - world.begin_s:+d}s {delivery.execution_id} "
            f"series {delivery.series} attempt {delivery.attempt} token {delivery.token}",
        )
        return arrival

    def _answer(self, arrival: Arrival, target: HttpTarget, status: int, wish: str | None) -> Outcome:
        arrival.answer = str(status) if status else "reset"
        self._world.trace.add("answer", f"{arrival.job_name} {arrival.execution_id} {arrival.answer} {wish or ''}")
        if not status:
            return NoAnswer("the connection was reset", "reset")
        wishes = () if wish is None else (wish,)
        retriable = status in (408, 425, 429) or status >= 500
        arrival.wish_s = parse_retry_after(wishes, self._clock.time()) if wishes and retriable else None
        return judge(target, Answer(status_code=status), wishes, self._clock.time(), resent=False)

    async def aclose(self) -> None:
        """There is nothing to close."""
