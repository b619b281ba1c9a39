"""What the people who run a server ask it: how it stands, its breakers, its clock; and a webhook tried out."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from chronos import __version__
from chronos.dispatch.check import check_target
from chronos.dispatch.port import Accepted, Delivered, Delivery, NoAnswer
from chronos.dispatch.workers.seat import WorkerState
from chronos.errors import NotFound, Unprocessable
from chronos.model.execution import Kind, execution_id
from chronos.model.limits import Namespace
from chronos.model.secret import STARS, map_credentials
from chronos.model.target import HttpTarget
from chronos.plugin import Call, Endpoint, Reply
from chronos.server.rest.core import Core, reply
from chronos.server.rest.documents import at, at_s
from chronos.store.tables import JOBS, META
from chronos.store.tables import Meta as StoreMeta
from chronos.store.truncation import LogStanding
from chronos.timing.clock import ulid
from chronos.timing.duration import parse_duration
from chronos.timing.zone import tzdata_version

TAG = "server"
TEST_US_MAX = 30_000_000


class BreakerNotFound(NotFound):
    """There is no such breaker; one appears when a host fails."""


class Upcoming(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job's next run."""

    job_id: str
    job_name: str
    next_run: datetime


class Peer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another member of the cluster.

    Attributes:
        state: `leader`, `follower`, `joining`, or `lost` when nothing was heard of it lately.
    """

    id: str
    address: str
    state: str


class WorkerDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A process that delivers.

    Attributes:
        pid: 0 while there is none.
        is_up: Whether it takes deliveries.
        restarts: How often it was replaced since the server's start.
        in_flight: Attempts given to it, or waiting for it.
    """

    number: int
    pid: int
    is_up: bool
    restarts: int
    in_flight: int


class LogDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the log stood when it was last looked after, at most ten seconds ago.

    Attributes:
        held: By name (`backup`, or a feature), how many entries are kept for somebody's sake.
        cut_past: Who needed entries that were let go, because there was no room for more.
    """

    first: int
    last: int
    bytes: int
    held: dict[str, int]
    cut_past: list[str]


class ClusterStatus(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this node and its cluster stand.

    Attributes:
        engine: What orders the log: `local` on one node alone.
        leader: Who leads, as far as this node knows; empty when nobody does.
        tzdata_version: The release of the time zone rules that this node plans by.
        state: This node's part in the cluster: `leader`, or `follower`.
        leader_address: Where the others reach the leader; empty on one node alone.
        running: Attempts in flight on this node.
        workers: The processes that deliver; none where the main process does.
        log: What the log weighs, and for whose sake.
        notes: What it cannot do now, and what to do about it: a full disk, a held clock.
    """

    node_id: str
    version: str
    engine: str
    tzdata_version: str
    state: Literal["leader", "follower"]
    is_leader: bool
    leader: str
    leader_address: str
    term: int
    commit_index: int
    applied_index: int
    jobs_total: int
    jobs_enabled: int
    dead_letters: int
    running: int
    ready: bool
    peers: list[Peer]
    next_runs: list[Upcoming]
    scheduler: dict[str, Any]
    clock: ClockDocument
    workers: list[WorkerDocument] = []
    notes: list[str] = []
    log: LogDocument | None = None


class BreakerDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A circuit breaker that has seen a failure."""

    namespace: str
    host: str
    state: str
    failures: int
    retry_in_s: float


class BreakerList(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every breaker that has seen a failure."""

    breakers: list[BreakerDocument]


class BreakerReset(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which breaker to close."""

    host: Annotated[str, Meta(min_length=1, max_length=300)]
    namespace: Namespace = "default"


class ClockDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The node's clock against the log's.

    Attributes:
        now: The node's wall clock.
        planning_time: What planning goes by; another than `now` while the clock is held.
        silent_until: Set when the wall clock lies behind what is decided already: nothing fires until then.
        held: The wall clock ran ahead further than the machine did, and is not believed.
        needs_accept: Only a person ends the hold; otherwise a minute of the kernel's word does, too.
        jumps: Steps ahead of more than a minute since the start.
        note: What there is to do; empty while all is well.
    """

    now: datetime
    planning_time: datetime
    log_time: datetime | None
    high_water_mark: datetime | None
    restore_epoch: int
    silent_until: datetime | None = None
    held: bool = False
    reason: str = ""
    needs_accept: bool = False
    jumps: int = 0
    note: str = ""


class TestAnswer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of one request, sent as a job's would be."""

    __test__ = False  # not one of pytest's, whatever its name says

    success: bool
    outcome: str
    status_code: int | None = None
    reason: str = ""
    error_class: str = ""
    response_body: str = ""
    response_bytes: int = 0
    duration_ms: float = 0.0
    notes: list[str] = field(default_factory=list)


class Operations:
    """The handlers for administrators, and `webhooks/test`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "GET",
                "/api/v1/cluster/status",
                self.status,
                "cluster:read",
                "Say how the node and its cluster stand.",
                answers=ClusterStatus,
                of_node=True,
                tag=TAG,
                operation="cluster_status",
            ),
            Endpoint(
                "GET",
                "/api/v1/breakers",
                self.breakers,
                "breaker:read",
                "List circuit breakers that have seen failures.",
                answers=BreakerList,
                tag=TAG,
                operation="list_breakers",
            ),
            Endpoint(
                "POST",
                "/api/v1/breakers/reset",
                self.reset_breaker,
                "breaker:reset",
                "Close a circuit breaker.",
                body=BreakerReset,
                answers=BreakerList,
                errors=(404,),
                tag=TAG,
                operation="reset_breaker",
            ),
            Endpoint(
                "GET",
                "/api/v1/clock",
                self.clock,
                "cluster:read",
                "Compare the node's clock with the log's.",
                answers=ClockDocument,
                tag=TAG,
                operation="get_clock",
            ),
            Endpoint(
                "POST",
                "/api/v1/clock/accept",
                self.accept_clock,
                "cluster:clock",
                "Accept a wall clock that has jumped, and plan by it.",
                answers=ClockDocument,
                tag=TAG,
                operation="accept_clock",
            ),
            Endpoint(
                "POST",
                "/api/v1/clock/reset",
                self.reset_clock,
                "cluster:clock",
                "Open a new restore epoch: what is due is counted from now on, whatever was decided before.",
                answers=ClockDocument,
                tag=TAG,
                operation="reset_clock",
            ),
            Endpoint(
                "POST",
                "/api/v1/webhooks/test",
                self.test_webhook,
                "webhook:test",
                "Send one request as a job would, through the same guards, and show what came back.",
                body=HttpTarget,
                answers=TestAnswer,
                errors=(403,),
                tag=TAG,
                operation="test_webhook",
            ),
        ]

    async def status(self, _: Call) -> Reply:
        core = self._core
        meta, seat = self._meta(), core.seat()
        reason = core.is_ready()
        upcoming = []
        for instant, job_id in core.scheduler.book.upcoming(10):
            job = core.log.view.get(JOBS, job_id)
            if job is not None:
                upcoming.append(Upcoming(job_id=job_id, job_name=job.name, next_run=at_s(instant)))
        return reply(
            ClusterStatus(
                node_id=core.node,
                version=__version__,
                engine=seat.engine,
                tzdata_version=tzdata_version(),
                state="leader" if seat.leads else "follower",
                is_leader=seat.leads,
                leader=seat.leader,
                leader_address=seat.leader_address,
                term=meta.term,
                commit_index=core.log.applied,
                applied_index=core.log.applied,
                jobs_total=meta.jobs,
                jobs_enabled=meta.jobs_enabled,
                dead_letters=meta.dead,
                running=core.scheduler.executor.in_flight(),
                ready=not reason,
                peers=[
                    Peer(id=name, address=seat.addresses.get(name, ""), state=part)
                    for name, part in seat.members.items()
                    if name != core.node
                ],
                next_runs=upcoming,
                scheduler=core.scheduler.status(),
                clock=self._clock_document(),
                workers=[worker_document(state) for state in core.workers()],
                notes=[*([reason] if reason else []), *core.notes()],
                log=_log_document(core.log_standing),
            )
        )

    async def breakers(self, _: Call) -> Reply:
        states = await self._core.breakers.states()
        return reply(
            BreakerList(
                breakers=[
                    BreakerDocument(
                        namespace=one.namespace,
                        host=one.host,
                        state=one.state.value,
                        failures=one.failures,
                        retry_in_s=one.retry_in_s,
                    )
                    for one in states
                ]
            )
        )

    async def reset_breaker(self, call: Call) -> Reply:
        body: BreakerReset = call.body
        if not await self._core.breakers.reset(body.namespace, body.host):
            raise BreakerNotFound(f"No breaker of namespace `{body.namespace}` stands for `{body.host}`.")
        return await self.breakers(call)

    async def clock(self, _: Call) -> Reply:
        return reply(self._clock_document())

    async def accept_clock(self, call: Call) -> Reply:
        await self._core.watch.accept(by=call.principal.id)
        return await self.clock(call)

    async def reset_clock(self, call: Call) -> Reply:
        await self._core.watch.reset(by=call.principal.id)
        return await self.clock(call)

    def _clock_document(self) -> ClockDocument:
        core = self._core
        hwm_s = core.scheduler.shard.hwm_s
        standing = core.watch.standing()
        state = standing.state
        return ClockDocument(
            now=at_s(int(state.wall)),
            planning_time=at_s(int(state.trusted)),
            log_time=at(core.log.time_us),
            high_water_mark=at_s(hwm_s) if hwm_s else None,
            restore_epoch=self._meta().restore_epoch,
            silent_until=at_s(standing.silent_until_s) if standing.silent_until_s else None,
            held=state.held,
            reason=state.reason,
            needs_accept=state.needs_accept,
            jumps=state.jumps,
            note=standing.note,
        )

    async def test_webhook(self, call: Call) -> Reply:
        target: HttpTarget = call.body
        check_target(target, "")
        map_credentials(target, _no_stars)
        timeout_us = min(parse_duration(target.timeout) if target.timeout else TEST_US_MAX, TEST_US_MAX)
        clock = self._core.clock
        now_s = int(clock.time())
        test_id = ulid(clock, self._core.chance)
        delivery = Delivery(
            execution_id=execution_id(test_id, Kind.MANUAL, "test", now_s),
            job_id=test_id,
            job_name="webhook-test",
            namespace=call.namespace,
            attempt=1,
            token="0.0.0",  # noqa: S106  # a fencing token, and not a secret
            scheduled_s=now_s,
            target=target,
            timeout_us=timeout_us,
        )
        began = clock.boottime()
        try:
            async with asyncio.timeout(timeout_us / 1e6 + 1.0):
                outcome: Any = await self._core.deliver.deliver(delivery)
        except TimeoutError:
            outcome = NoAnswer("The target did not answer in time.", "timeout")
        return reply(_test_answer(outcome, (clock.boottime() - began) * 1000))

    def _meta(self) -> StoreMeta:
        return self._core.log.view.get(META, "meta") or StoreMeta()


def _no_stars(path: str, text: str) -> str:
    if text == STARS:
        raise Unprocessable(
            f"`{path}` is {STARS}; a test needs the credential itself, or a reference to it.", field=path
        )
    return text


def _test_answer(outcome: Any, duration_ms: float) -> TestAnswer:
    answer = getattr(outcome, "answer", None)
    body = (answer.body or answer.excerpt.encode()).decode(errors="replace") if answer else ""
    return TestAnswer(
        success=isinstance(outcome, Delivered | Accepted),
        outcome=type(outcome).__struct_config__.tag,
        status_code=answer.status_code if answer else None,
        reason=getattr(outcome, "reason", ""),
        error_class=getattr(outcome, "error_class", ""),
        response_body=body,
        response_bytes=answer.body_bytes if answer else 0,
        duration_ms=round(duration_ms, 3),
        notes=list(answer.notes) if answer else [],
    )


def worker_document(state: WorkerState) -> WorkerDocument:
    """Return how a worker process stands."""
    return WorkerDocument(
        number=state.number, pid=state.pid, is_up=state.is_up, restarts=state.restarts, in_flight=state.in_flight
    )


def _log_document(standing: LogStanding) -> LogDocument | None:
    """Return how the log stands; None before it was looked after for the first time."""
    if not standing.last:
        return None
    return LogDocument(
        first=standing.first,
        last=standing.last,
        bytes=standing.bytes,
        held=dict(standing.held),
        cut_past=sorted(standing.passed),
    )
