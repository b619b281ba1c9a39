"""Asks the engine over its socket how it is: ready, and its numbers. Plain HTTP, as `curl --unix-socket` does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from chronos.cluster.etcd.space import Space

ANSWER_S_MAX = 2.0
_ANSWER_BYTES_MAX = 8 << 20
_FSYNC = "etcd_disk_wal_fsync_duration_seconds"
_WANTED = ("etcd_server_", "etcd_mvcc_db_total_size_", _FSYNC)
_SAMPLE = re.compile(r"^([a-z_]+)(?:\{([^}]*)\})? (\S+)$")


class Fsyncs(Struct, frozen=True):
    """How long the engine's writes to disk took since it started.

    Attributes:
        buckets: (upper bound in seconds, how many took no longer), ascending; cumulative.
    """

    count: int = 0
    seconds: float = 0.0
    buckets: tuple[tuple[float, int], ...] = ()

    def since(self, before: Fsyncs) -> Fsyncs:
        """Return those that came after `before`; all of them where the engine has begun anew since."""
        earlier = dict(before.buckets)
        if before.count > self.count:
            return self
        buckets = tuple((bound, count - earlier.get(bound, 0)) for bound, count in self.buckets)
        return Fsyncs(self.count - before.count, self.seconds - before.seconds, buckets)

    def quantile(self, part: float) -> float:
        """Return the bound, in seconds, that this part of the writes kept to; 0 when there were none."""
        return next((bound for bound, count in self.buckets if count >= part * self.count), 0.0) if self.count else 0.0


class EngineMetrics(Struct, frozen=True, kw_only=True):
    """The engine's numbers.

    Attributes:
        member_id: Its own number for this member, in hexadecimal.
        behind: Entries that are committed, and not yet applied here.
        pending: Writes that wait to be agreed on.
        leader_changes: How many leaders this member has seen since it started.
    """

    member_id: str = ""
    has_leader: bool = False
    is_leader: bool = False
    is_learner: bool = False
    leader_changes: int = 0
    db_bytes: int = 0
    in_use_bytes: int = 0
    quota_bytes: int = 0
    behind: int = 0
    pending: int = 0
    fsync: Fsyncs = Fsyncs()

    def space(self, *, is_full: bool) -> Space:
        """Return how full it is; `is_full` says whether the alarm NOSPACE is raised, which is not among the numbers."""
        return Space(self.db_bytes, self.in_use_bytes, self.quota_bytes, is_full)


class EngineLook(Struct, frozen=True):
    """How the engine was at the last look.

    Attributes:
        at_s: When that was, by boot time.
        full: The members for which the alarm NOSPACE is raised, by id.
        alarms: Everything it complains of, in words of etcd.
        behind: Changes that it knows of and has not applied.
        fsync_s: What 99 of 100 writes to disk since the look before kept to; 0 when there were none.
    """

    at_s: float
    metrics: EngineMetrics
    full: tuple[int, ...] = ()
    alarms: tuple[str, ...] = ()
    behind: int = 0
    fsync_s: float = 0.0


async def is_healthy(socket: str) -> bool:
    """Whether the engine has a leader and agrees on a read with the others. One that is full does."""
    try:
        status, body = await get(socket, "/health?exclude=NOSPACE")
    except (OSError, TimeoutError):
        return False
    return status == 200 and b'"true"' in body


async def trouble(socket: str) -> str:
    """Return why the engine is not ready, in a sentence or two."""
    try:
        _, body = await get(socket, "/health?exclude=NOSPACE")
    except (OSError, TimeoutError):
        return "The engine runs and does not answer."
    return explain(body)


def explain(body: bytes) -> str:
    """Return what an unhealthy engine means by its answer."""
    try:
        health = msgspec.json.decode(body, type=_Health)
    except msgspec.DecodeError:
        health = _Health()
    if health.health == "true":
        return "The engine was too slow to answer."
    said = health.reason
    if "CORRUPT" in said:
        return (
            "The engine has found that the data of a member differs from the others' (alarm CORRUPT), and refuses"
            " everything. Its log names the member: stop that one, and have etcd forget it over the socket of a living"
            " one's engine (`etcdctl member remove ID`, then `etcdctl alarm disarm`)."
        )
    return f"The engine runs and has no majority of its members{f' ({said.strip()})' if said else ''}."


class _Health(Struct, frozen=True):
    health: str = ""
    reason: str = ""


async def metrics(socket: str) -> EngineMetrics | None:
    """Return the engine's numbers; None when it does not answer."""
    try:
        status, body = await get(socket, "/metrics")
    except (OSError, TimeoutError):
        return None
    return read_metrics(body.decode(errors="replace")) if status == 200 else None


async def get(socket: str, path: str) -> tuple[int, bytes]:
    """Return status and body of a GET over a unix socket.

    Raises:
        OSError: There is nobody, or what came is no answer.
        TimeoutError: It takes longer than `ANSWER_S_MAX`.
    """
    async with asyncio.timeout(ANSWER_S_MAX):
        reader, writer = await asyncio.open_unix_connection(socket, limit=_ANSWER_BYTES_MAX)
        try:
            # HTTP/1.0: the answer comes in one piece and ends with the connection.
            writer.write(f"GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n".encode())
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
    found = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if found is None:
        raise OSError("the engine's answer is no HTTP")
    return int(found[1]), body


def read_metrics(text: str) -> EngineMetrics:
    """Return the numbers in what etcd tells Prometheus; what is missing is 0."""
    numbers: dict[str, float] = {}
    buckets: list[tuple[float, int]] = []
    member_id = ""
    for name, labels, value in _samples(text.splitlines()):
        if name == f"{_FSYNC}_bucket":
            buckets.append((float(labels.partition('le="')[2].rstrip('"')), int(value)))
        elif name == "etcd_server_id":
            member_id = labels.partition('"')[2].rstrip('"')
        else:
            numbers[name] = value
    whole = {name: int(value) for name, value in numbers.items()}
    committed = whole.get("etcd_server_proposals_committed_total", 0)
    return EngineMetrics(
        member_id=member_id,
        has_leader=bool(whole.get("etcd_server_has_leader")),
        is_leader=bool(whole.get("etcd_server_is_leader")),
        is_learner=bool(whole.get("etcd_server_is_learner")),
        leader_changes=whole.get("etcd_server_leader_changes_seen_total", 0),
        db_bytes=whole.get("etcd_mvcc_db_total_size_in_bytes", 0),
        in_use_bytes=whole.get("etcd_mvcc_db_total_size_in_use_in_bytes", 0),
        quota_bytes=whole.get("etcd_server_quota_backend_bytes", 0),
        behind=max(0, committed - whole.get("etcd_server_proposals_applied_total", 0)),
        pending=whole.get("etcd_server_proposals_pending", 0),
        fsync=Fsyncs(whole.get(f"{_FSYNC}_count", 0), numbers.get(f"{_FSYNC}_sum", 0.0), tuple(sorted(buckets))),
    )


def _samples(lines: Iterable[str]) -> Iterator[tuple[str, str, float]]:
    for line in lines:
        if line.startswith(_WANTED) and (found := _SAMPLE.match(line)):
            yield found[1], found[2] or "", float(found[3])
