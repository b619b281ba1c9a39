"""Clients: they create, edit, pause, delete, trigger, cancel, redrive and read; by preference around due instants."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from chronos.errors import ChronosError
from chronos.model.execution import Execution
from chronos.model.job import Job
from chronos.scheduler.jobs import Changed
from chronos.server.uptodate import up_to_date
from chronos.store.queries import ALL
from chronos.testing.simulation.evidence import Operation
from chronos.testing.simulation.load import another_spec
from chronos.timing.clock import utc

if TYPE_CHECKING:
    from chronos.testing.simulation.node import SimLife
    from chronos.testing.simulation.world import World

NAMESPACE = "default"
CLAIM_LEAD_S = 0.25

# (weight, operation); reads are cheap and tell the most about what was lost.
_CHOICES = {
    "get": 6,
    "edit": 5,
    "pause": 4,
    "resume": 5,
    "trigger": 3,
    "delete": 1,
    "create": 2,
    "cancel": 2,
    "redrive": 1,
    "backfill": 0.5,
    "list": 0.5,
}

_READS = frozenset({"get", "list"})


class Client:
    """One client, doing one thing after the other through the job service."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._number = number
        self._draw = world.stream(f"client {number}")
        self._seen: dict[str, Job] = {}

    async def run(self, until: float) -> None:
        """Act until then."""
        while True:
            await asyncio.sleep(self._draw.expovariate(1 / self._world.profile.op_every_s))
            life = self._world.alive()
            if life is not None:
                await self._aim(life)
            if self._world.seconds >= until:
                return
            life = self._world.alive()
            if life is not None:
                kind = self._draw.choices(list(_CHOICES), list(_CHOICES.values()))[0]
                await self.act(life, kind, self._name(kind))

    async def _aim(self, life: SimLife) -> None:
        """Often wait until just before or after an instant, or until it is being claimed, by the leader's clock."""
        if self._draw.random() < 0.5:
            now = life.sim.clock.time()
            target = math.ceil(now) + self._draw.choice((0.0, -CLAIM_LEAD_S)) + self._draw.uniform(-0.05, 0.05)
            await asyncio.sleep(max(0.0, target - now))

    def _name(self, kind: str) -> str:
        most = self._world.profile.jobs
        if kind == "create":
            return f"job{self._draw.randrange(most + 6):02d}"
        return f"job{self._draw.randrange(most):02d}"

    async def act(self, life: SimLife, kind: str, name: str, **facts: Any) -> Operation:
        """Do one thing and note what came of it."""
        world = self._world
        operation = Operation(self._number, kind, name, world.seconds, facts=facts)
        world.evidence.operations.append(operation)
        task = life.run(self._answered(life, operation))
        await asyncio.wait([task])
        operation.ended = world.seconds
        if not operation.answer and not life.dead and not task.cancelled() and task.exception() is not None:
            world.broken("harness", f"{kind} {name}: {task.exception()!r}")
        what = operation.answer or "unknown"
        world.trace.add("client", f"{self._number} {kind} {name}: {what} {' '.join(operation.already_sent)}")
        return operation

    async def _answered(self, life: SimLife, operation: Operation) -> None:
        node = life.node
        assert node is not None
        answer, is_read = "ok", operation.kind in _READS
        try:
            barrier = node.membership.barrier if node.membership is not None else None
            await up_to_date(partial(_DO[operation.kind], self, life, operation), barrier, reads=is_read)
        except ChronosError as error:
            answer = error.slug
        if not life.dead:
            operation.answer = answer
            operation.clock = node.house.clock.time()

    def _changed(self, operation: Operation, changed: Changed) -> None:
        operation.job = changed.job
        operation.job_id = changed.job.id
        operation.already_sent = list(changed.already_sent)
        self._seen[operation.name] = changed.job

    def _expected(self, operation: Operation) -> int | None:
        """Send what was read last as `If-Match`, most of the time."""
        seen = self._seen.get(operation.name)
        if seen is not None and self._draw.random() < 0.6:
            operation.revision = seen.revision
        return operation.revision

    async def _get(self, life: SimLife, operation: Operation) -> None:
        assert life.node is not None
        job = await life.node.drive.jobs.get(operation.name, namespace=NAMESPACE)
        operation.job, operation.job_id = job, job.id
        self._seen[operation.name] = job

    async def _create(self, life: SimLife, operation: Operation) -> None:
        assert life.node is not None
        spec = operation.facts.get("spec") or another_spec(
            self._draw, operation.name, nasty=self._world.profile.nasty_targets
        )
        self._changed(operation, await life.node.drive.jobs.create(spec, by=f"client{self._number}"))

    async def _edit(self, life: SimLife, operation: Operation) -> None:
        assert life.node is not None
        spec = another_spec(self._draw, operation.name, nasty=self._world.profile.nasty_targets)
        changed = await life.node.drive.jobs.replace(
            operation.name, spec, namespace=NAMESPACE, revision=self._expected(operation), by="client"
        )
        self._changed(operation, changed)

    async def _pause(self, life: SimLife, operation: Operation) -> None:
        assert life.node is not None
        until = None
        if self._draw.random() < 0.4:
            until = utc(life.node.house.clock.time()) + timedelta(seconds=self._draw.uniform(0.5, 20))
        changed = await life.node.drive.jobs.pause(
            operation.name, namespace=NAMESPACE, until=until, revision=self._expected(operation), by="client"
        )
        self._changed(operation, changed)

    async def _resume(self, life: SimLife, operation: Operation) -> None:
        assert life.node is not None
        changed = await life.node.drive.jobs.resume(
            operation.name, namespace=NAMESPACE, revision=self._expected(operation), by="client"
        )
        self._changed(operation, changed)

    async def _delete(self, life: SimLife, operation: Operation) -> None:
        assert life.node is not None
        changed = await life.node.drive.jobs.delete(
            operation.name, namespace=NAMESPACE, revision=self._expected(operation), by="client"
        )
        self._changed(operation, changed)
        self._seen.pop(operation.name, None)

    async def _trigger(self, life: SimLife, operation: Operation) -> None:
        assert life.node is not None
        force = self._draw.random() < 0.2
        found = await life.node.drive.jobs.trigger(operation.name, namespace=NAMESPACE, by="client", force=force)
        operation.facts |= {"execution": found.id, "force": force}

    async def _cancel(self, life: SimLife, operation: Operation) -> None:
        assert life.node is not None
        open_now: list[Execution] = life.node.truth.queries.open_executions()
        if open_now:
            chosen = self._draw.choice(open_now)
            operation.facts["execution"] = chosen.id
            await life.node.drive.jobs.cancel(chosen.id, namespace=NAMESPACE, by="client")

    async def _redrive(self, life: SimLife, operation: Operation) -> None:
        assert life.node is not None
        dead = life.node.truth.queries.dead_letters(ALL, limit=20).items
        if dead:
            chosen = [one.id for one in self._draw.sample(dead, k=min(2, len(dead)))]
            operation.facts["executions"] = chosen
            await life.node.drive.jobs.redrive(chosen, namespace=NAMESPACE, by="client")

    async def _backfill(self, life: SimLife, operation: Operation) -> None:
        assert life.node is not None
        now = utc(life.node.house.clock.time())
        opened = await life.node.drive.jobs.backfill(
            operation.name,
            namespace=NAMESPACE,
            since=now - timedelta(seconds=40),
            until=now - timedelta(seconds=20),
            by="client",
        )
        operation.facts["executions"] = opened

    async def _list(self, life: SimLife, operation: Operation) -> None:
        assert life.node is not None
        page = await life.node.truth.queries.jobs(NAMESPACE, limit=1_000)
        operation.facts["names"] = {job.name: (job.id, job.revision) for job in page.items}


Do = Callable[[Client, "SimLife", Operation], Awaitable[None]]
_DO: dict[str, Do] = {
    "get": Client._get,
    "create": Client._create,
    "edit": Client._edit,
    "pause": Client._pause,
    "resume": Client._resume,
    "delete": Client._delete,
    "trigger": Client._trigger,
    "cancel": Client._cancel,
    "redrive": Client._redrive,
    "backfill": Client._backfill,
    "list": Client._list,
}
