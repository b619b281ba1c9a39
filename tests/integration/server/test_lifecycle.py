"""What a node does when a part of it cannot go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.server.living import Living, a_node, until

from chronos.errors import StorageFull
from chronos.server.assemble import Node
from chronos.server.lifecycle import SOFTWARE

JOB = {"name": "often", "schedule": "* * * * * *", "webhook": {"url": "http://127.0.0.1:9/"}}


class Disk:
    """Stands before a node's log: the boot record fits, and nothing else while it is full."""

    def __init__(self) -> None:
        self.is_full = True
        self._append: Callable[..., Any] | None = None
        self._appended = 0

    def stand_before(self, node: Node) -> None:
        self._append = node.truth.log.append
        node.truth.log.append = self.append  # type: ignore[method-assign]

    async def append(self, index: int, data: bytes, epoch: Any) -> None:
        assert self._append is not None
        if self.is_full and self._appended:
            raise StorageFull
        await self._append(index, data, epoch)
        self._appended += 1


async def notes(living: Living) -> list[str]:
    ready = await living.call("GET", "/ready")
    assert ready.status_code == 200
    found: list[str] = ready.json()["notes"]
    return found


@pytest.mark.asyncio
async def test_a_node_that_starts_on_a_full_disk_reads_says_so_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async with a_node(tmp_path / "data") as living:
        assert (await living.call("POST", "/api/v1/jobs", JOB)).status_code == 201

        async def has_run() -> bool:
            return bool((await living.call("GET", "/api/v1/executions")).json()["executions"])

        await until(has_run)

    disk = Disk()
    async with a_node(tmp_path / "data", prepare=disk.stand_before) as living:
        refused = await living.call("POST", "/api/v1/jobs", {**JOB, "name": "second"})
        assert refused.status_code == 507
        assert "disk is full" in (await notes(living))[0]
        assert (await living.call("GET", "/api/v1/jobs/often")).status_code == 200
        begun = (await living.call("GET", "/api/v1/executions")).json()["executions"][0]["id"]
        disk.is_full = False

        async def goes_on() -> bool:
            newest = (await living.call("GET", "/api/v1/executions")).json()["executions"][0]["id"]
            return bool(newest != begun and not await notes(living))

        await until(goes_on)
        assert (await living.call("POST", "/api/v1/jobs", {**JOB, "name": "second"})).status_code == 201


@pytest.mark.asyncio
@pytest.mark.parametrize("part", ["pauses", "clock"])
async def test_a_part_that_fails_ends_the_process_instead_of_living_on_without_it(tmp_path: Path, part: str) -> None:
    def fail(*_: object) -> Any:
        raise RuntimeError("a fault of our own")

    async with a_node(tmp_path / "data") as living:
        if part == "pauses":
            living.node.drive.pauses._line.due = fail  # type: ignore[method-assign, assignment]
        else:
            living.node.truth.watch.look = fail  # type: ignore[method-assign]
        await until(lambda: _is_done(living))
        assert living.running.result() == SOFTWARE


async def _is_done(living: Living) -> bool:
    return living.running.done()
