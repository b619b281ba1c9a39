"""Whose snapshot is fetched: the furthest member's that is reached, the next one's when that fails, or nobody's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chronos.cluster.peers.wire import Call
from chronos.errors import PeerUnreachable, StorageFull, Unavailable
from chronos.server.snapshots import choosing
from chronos.server.snapshots.calls import STANDING, Offered, OfferedFile, Standing
from chronos.server.snapshots.choosing import FROM, NoSnapshot, Stage, fetch_from_anybody, furthest
from chronos.server.snapshots.fetching import YARD, Asked, Fetched
from chronos.testing.virtual_time import virtual_time


class Lane:
    def __init__(self, node: str, applied: int | None) -> None:
        self.node = node
        self.applied = applied

    async def call(self, call: Call[Any, Any], question: Any, *, within_s: float | None = None) -> Any:
        assert call is STANDING
        if self.applied is None:
            raise PeerUnreachable
        return Standing(self.applied)


class Others:
    """Members that have come so far; None is one that is not reached."""

    def __init__(self, standing: Mapping[str, int | None]) -> None:
        self.standing = dict(standing)

    def others(self) -> list[str]:
        return sorted(self.standing)

    @asynccontextmanager
    async def lane(self, node: str) -> AsyncIterator[Asked]:
        yield Lane(node, self.standing[node])


class Fetching:
    """Stands where `fetch` does; `fails` says for whom it raises what."""

    def __init__(self, fails: Mapping[str, Exception] | None = None, has: int = 50) -> None:
        self.fails = dict(fails or {})
        self.has = has
        self.asked: list[str] = []

    async def __call__(self, other: Any, data: Path, *, above: int, on_offered: Any, on_bytes: Any) -> Fetched:
        self.asked.append(other.node)
        if other.node in self.fails:
            raise self.fails[other.node]
        await on_offered(Offered("id", self.has, [OfferedFile("state.db", 1_000, "00")]))
        on_bytes(500)
        return Fetched(data, self.has, 1_000)


async def nobody(_: Offered) -> None: ...


async def first() -> int:
    return 41


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / YARD).mkdir()
    return tmp_path


@virtual_time
async def test_the_furthest_that_is_reached_is_asked_first_and_who_is_behind_is_not_asked(data: Path) -> None:
    others = Others({"n1": 70, "n2": 90, "n3": None, "n4": 39})
    assert await furthest(others, data, 40) == ["n2", "n1"]


@virtual_time
async def test_whose_snapshot_is_half_here_is_asked_before_all(data: Path) -> None:
    (data / YARD / FROM).write_text("n1")
    assert await furthest(Others({"n1": 70, "n2": 90}), data, 40) == ["n1", "n2"]


@virtual_time
async def test_a_member_without_any_state_has_nothing_to_offer(data: Path) -> None:
    assert await furthest(Others({"n1": 0}), data, 0) == []


@virtual_time
async def test_when_one_has_no_room_for_a_copy_the_next_is_asked(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetching = Fetching({"n2": StorageFull("There is no room on n2.")})
    monkeypatch.setattr(choosing, "fetch", fetching)
    stage = Stage()
    fetched = await fetch_from_anybody(Others({"n1": 70, "n2": 90}), data, first=first, on_offered=nobody, stage=stage)
    assert fetched.applied == 50
    assert fetching.asked == ["n2", "n1"]
    assert str(stage) == "State and history are fetched from n1: 50 % of 0.0 MB."
    assert (data / YARD / FROM).read_text() == "n1"


@virtual_time
async def test_it_is_asked_again_until_somebody_is_there(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "fetch", Fetching())
    others, stage = Others({"n1": None, "n2": 12}), Stage()
    fetching = asyncio.create_task(fetch_from_anybody(others, data, first=first, on_offered=nobody, stage=stage))
    await asyncio.sleep(60)
    assert str(stage) == str(NoSnapshot())
    others.standing["n1"] = 80
    assert (await fetching).applied == 50


@virtual_time
async def test_a_snapshot_that_the_log_has_gone_on_without_meanwhile_is_not_put_in_place(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching = Fetching(has=39)
    monkeypatch.setattr(choosing, "fetch", fetching)

    async def again() -> None:
        await asyncio.sleep(20)
        fetching.has = 60

    growing = asyncio.create_task(again())
    fetched = await fetch_from_anybody(Others({"n1": 70}), data, first=first, on_offered=nobody, stage=Stage())
    await growing
    assert fetched.applied == 60


@virtual_time
async def test_without_anybody_and_without_a_log_to_ask_it_ends_and_says_why(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown() -> int:
        raise Unavailable("There is no quorum.")

    monkeypatch.setattr(choosing, "ROUNDS_MAX", 3)
    with pytest.raises(NoSnapshot, match=r"There is no quorum\."):
        await fetch_from_anybody(Others({}), data, first=unknown, on_offered=nobody, stage=Stage())
