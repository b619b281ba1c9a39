"""A real server whose disk fails: it stops when a sync does, and waits when there is no space."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from tests.acceptance.node import Node
from tests.acceptance.recording_target import RecordingTarget
from tests.architecture.source import ROOT
from tests.crash.server import VARIABLE
from tests.torture.witness import copy_disk, recorded

from chronos.model.execution import Execution, RangeRecord

TRIES = 100
LOOK_S = 0.2


class Place:
    """A disk that can be full, and fail."""

    def __init__(self, data: Path, orders: Path) -> None:
        self.data = data
        self._orders = orders

    def node(self) -> Node:
        env = {VARIABLE: str(self._orders), "PYTHONPATH": str(ROOT)}
        return Node(self.data, env=env, program=("-m", "tests.crash.server"))

    def fill(self) -> None:
        """Leave no space."""
        (self._orders / "capacity").write_text("0")

    def make_space(self) -> None:
        """Give all of it back."""
        (self._orders / "capacity").unlink()

    def fail_sync(self, where: str) -> None:
        """Fail every sync of files of this name from now on."""
        (self._orders / "new").write_text(where)
        (self._orders / "new").rename(self._orders / "fail-sync")


class SmallPlace(Place):
    """A file system of its own, which is full when it is."""

    def fill(self) -> None:
        with (self.data.parent / "filler").open("wb", buffering=0) as filler:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while filler.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def make_space(self) -> None:
        (self.data.parent / "filler").unlink()


@contextmanager
def simulated_disk() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="chronos-failing-"))
    (folder / "orders").mkdir()
    try:
        yield Place(folder / "data", folder / "orders")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def small_disk() -> Iterator[Place]:
    """Yield a place on a file system of its own, where one can be mounted; the simulated one runs anywhere."""
    folder = Path(tempfile.mkdtemp(prefix="chronos-small-"))
    (folder / "orders").mkdir()
    (folder / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(folder / "disk")]
    if (
        os.geteuid() != 0
        or not shutil.which("mount")
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        shutil.rmtree(folder)
        pytest.skip("mounting a file system is not allowed here; the simulated disk stands for it")
    try:
        yield SmallPlace(folder / "disk" / "data", folder / "orders")
    finally:
        subprocess.run(["umount", str(folder / "disk")], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def a_job(name: str, url: str) -> dict[str, object]:
    return {
        "name": name,
        "schedule": "* * * * * *",
        "concurrency": "allow",
        "missed_run_policy": "execute_all",
        "webhook": {"url": url},
    }


@asynccontextmanager
async def at_work(place: Place) -> AsyncIterator[tuple[Node, RecordingTarget]]:
    """Run a server that has one job, on which something arrives each second."""
    async with RecordingTarget() as target:
        node = place.node()
        await node.start()
        assert (await node.call("POST", "/api/v1/jobs", a_job("first", target.url))).status_code == 201
        await until_it_arrives(target)
        try:
            yield node, target
        finally:
            await node.kill()


async def until_it_arrives(target: RecordingTarget) -> None:
    before = len(target.arrivals)
    for _ in range(TRIES):
        if len(target.arrivals) > before:
            return
        await asyncio.sleep(LOOK_S)
    raise AssertionError("nothing arrives")


async def until_answered(node: Node, status: int, target: RecordingTarget) -> None:
    """Create jobs until that is answered `status`."""
    seen = []
    for number in range(TRIES):
        answer = await node.call("POST", "/api/v1/jobs", a_job(f"{status}-{number}", target.url))
        if answer.status_code == status:
            return
        seen.append(answer.status_code)
        await asyncio.sleep(LOOK_S)
    raise AssertionError(f"never {status}: {seen}; {node.output}")


async def each_instant_has_one_record(place: Place, first: int, last: int) -> None:
    copy_disk(place.data, place.data.with_name("left"))
    records, running = await recorded(place.data.with_name("left"))
    instants: list[int] = []
    for record in [*records, *running]:
        if isinstance(record, Execution) and record.job_name == "first":
            instants.append(record.scheduled_s)
        if isinstance(record, RangeRecord) and record.job_name == "first":
            instants += range(record.first_s, record.last_s + 1)
    assert [instants.count(instant) for instant in range(first, last + 1)] == [1] * (last - first + 1)


@pytest.mark.timeout(120)
@pytest.mark.asyncio
@pytest.mark.parametrize("disk", [simulated_disk, small_disk])
async def test_a_full_disk_is_answered_507_and_everything_goes_on_when_there_is_space(disk: object) -> None:
    assert callable(disk)
    with disk() as place:
        async with at_work(place) as (node, target):
            begun = int(time.time()) + 1
            place.fill()
            await until_answered(node, 507, target)
            for path in ("/api/v1/jobs", "/api/v1/executions", "/health"):
                assert (await node.call("GET", path)).status_code == 200
            place.make_space()
            await until_answered(node, 201, target)
            await until_it_arrives(target)
            await asyncio.sleep(1.5)
            last = int(time.time()) - 1
            assert await node.stop() == 0
            await each_instant_has_one_record(place, begun, last)


@pytest.mark.timeout(120)
@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["log", "state.db", "history"])
async def test_a_sync_that_fails_stops_the_server_with_75_and_the_next_start_has_everything(where: str) -> None:
    with simulated_disk() as place:
        async with at_work(place) as (node, target):
            place.fail_sync(where)
            async with asyncio.timeout(30):
                assert await node.ended() == 75
            assert "Check the disk" in node.output
            arrived = {arrival.execution for arrival in target.arrivals}
            await node.start()
            await until_it_arrives(target)
            jobs = (await node.call("GET", "/api/v1/jobs")).json()["jobs"]
            assert [job["name"] for job in jobs] == ["first"]
            history = (await node.call("GET", "/api/v1/executions?limit=200")).json()["executions"]
            assert arrived <= {execution["id"] for execution in history}
            assert await node.stop() == 0
