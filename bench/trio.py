"""What benchmarks of a cluster share: three nodes and a sink in processes of their own, and what is true afterwards."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec
from bench.loopback import LoopbackCluster
from bench.rig import Process, SinkProcess, process_of
from bench.sink import Witnessed

from chronos.timing.jitter import jitter_us

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ROOT / ".cache/engine/etcd"
SECOND_US = 1_000_000


class Fired(NamedTuple):
    """One arrival at the target, with what is known of it.

    Attributes:
        due: When it was due, with the job's own jitter; seconds since the epoch.
        second: The instant that its job names.
        term: Of the leader who granted it.
    """

    at: float
    execution: str
    job: str
    due: float
    second: int
    term: int

    @property
    def late_s(self) -> float:
        return self.at - self.due


@dataclass
class Trio:
    """All of them, started.

    Attributes:
        folder: Where they keep what they have; gone afterwards.
    """

    cluster: LoopbackCluster
    sink: SinkProcess
    folder: Path

    def used(self) -> dict[str, Process]:
        """Return what every process has used since it began, by node and role."""
        used = {
            f"{node.name}.{role}": process_of(pid)
            for node in self.cluster.nodes
            for role, pid in node.processes().items()
        }
        return used | {"sink": process_of(self.sink.pid), "bench": process_of(os.getpid())}

    async def create(self, jobs: Iterable[dict[str, Any]]) -> None:
        """Create jobs through the batch API."""
        await self.cluster.create([msgspec.json.encode(job) for job in jobs])

    async def recorded(self) -> int:
        """Return how many executions have ended well since their node began, over the nodes that run."""
        total = 0.0
        for node in self.cluster.running:
            for line in (await self.cluster.text(node, "/metrics")).splitlines():
                if re.match(r'chronos_executions_total\{.*status="success"', line):
                    total += float(line.rpartition(" ")[2])
        return int(total)


@asynccontextmanager
async def trio(folder: Path, *arguments: str, delay_ms: float = 0.0, workers: str = "auto") -> AsyncIterator[Trio]:
    """Found and start three nodes and a sink; end all of them."""
    sink = SinkProcess(folder / "arrivals", delay_ms)
    environ = {**os.environ, "CHRONOS_DISPATCHER__WORKERS": workers}
    cluster = LoopbackCluster(
        folder / "cluster", engine(), environ=environ, arguments=("--log-level", "warn", *arguments)
    )
    await sink.start()
    try:
        async with cluster:
            await cluster.whole()
            yield Trio(cluster, sink, folder)
    finally:
        await sink.stop()


def engine() -> Path:
    """Return the etcd to run on.

    Raises:
        RuntimeError: There is none.
    """
    for candidate in (os.environ.get("CHRONOS_ETCD"), ENGINE, shutil.which("etcd")):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    raise RuntimeError("etcd is missing; `make engine` makes it")


def fired(arrivals: Iterable[Witnessed], spread_us: int) -> list[Fired]:
    """Return what arrived, oldest first, with the instants at which it was due."""
    found = [
        Fired(at, key, job, due + jitter_us(job, int(due), spread_us) / 1e6, int(due), int(token.split(".")[1]))
        for at, key, job, due, token in arrivals
    ]
    return sorted(found)


def first_arrivals(seen: Iterable[Fired]) -> dict[str, Fired]:
    """Return the first arrival of each execution."""
    first: dict[str, Fired] = {}
    for one in seen:
        first.setdefault(one.execution, one)
    return first


class Records(NamedTuple):
    """What the nodes have in their history.

    Attributes:
        ended: Executions that ended well, by each node's history.
        twice: Executions that a history has more than once.
        ended_us: When each of them ended: log time of the entry that says so, which a majority has on disk.
    """

    ended: dict[str, set[str]]
    twice: set[str]
    ended_us: dict[str, int]

    def between(self, begun_s: float, ended_s: float) -> int:
        """Return how many ended from one moment to another, seconds since the epoch."""
        return sum(begun_s <= ended_us / 1e6 < ended_s for ended_us in self.ended_us.values())


def records(cluster: LoopbackCluster) -> Records:
    """Return what the histories of the nodes hold; they have to be stopped."""
    ended: dict[str, set[str]] = {}
    twice: set[str] = set()
    ended_us: dict[str, int] = {}
    for node in cluster.nodes:
        counted: Counter[str] = Counter()
        for path in sorted((node.data / "history").glob("*.db")):
            db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            statement = "SELECT id, ended_us FROM records WHERE status = 'success'"
            rows: list[Any] = db.execute(statement).fetchall()
            db.close()
            counted.update(key for key, _ in rows)
            ended_us.update(rows)
        ended[node.name] = set(counted)
        twice |= {key for key, times in counted.items() if times > 1}
    return Records(ended, twice, ended_us)


def missing(seen: Iterable[Fired], until_s: float) -> int:
    """Return how many instants of jobs that run every second never arrived, up to `until_s`."""
    seconds: dict[str, set[int]] = {}
    for one in seen:
        seconds.setdefault(one.job, set()).add(one.second)
    last = int(until_s)
    return sum(len(range(min(there), last + 1)) - sum(second <= last for second in there) for there in seconds.values())


def sent_twice(seen: Iterable[Fired]) -> dict[str, list[Fired]]:
    """Return the executions that arrived more than once, with all of their arrivals."""
    by_key: dict[str, list[Fired]] = {}
    for one in seen:
        by_key.setdefault(one.execution, []).append(one)
    return {key: ones for key, ones in by_key.items() if len(ones) > 1}
