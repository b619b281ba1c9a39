"""What only a log on etcd can suffer: answers that get lost, watches that leave things out, members that die."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.etcds import Etcds, etcds
from tests.integration.cluster.proxy import Proxy

from chronos.cluster.etcd.client import ClientSettings
from chronos.cluster.etcd.following import FollowSettings, Page
from chronos.cluster.etcd.log import EtcdLog, EtcdLogSettings
from chronos.cluster.port import Entry, Epoch
from chronos.errors import Fenced, Invalid, SnapshotNeeded, Unavailable

QUICK = EtcdLogSettings(
    append_s=2.0, append_call_s=0.3, client=ClientSettings(call_s=0.5), follow=FollowSettings(silence_s=0.3)
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcds]:
    with etcds(tmp_path_factory.mktemp("etcd")) as engine:
        asyncio.run(engine.ready())
        yield engine


@asynccontextmanager
async def opened(endpoints: list[str], name: Path, **more: Any) -> AsyncIterator[EtcdLog]:
    async with asyncio.timeout(60), EtcdLog(endpoints, name.name, **{"settings": QUICK, **more}) as log:
        yield log


async def filled(log: EtcdLog, count: int) -> Epoch:
    epoch = await log.campaign()
    for index in range(1, count + 1):
        await log.append(index, b"entry %d" % index, epoch)
    return epoch


async def read(log: EtcdLog, frm: int) -> list[bytes]:
    return [entry.data async for entry in log.tail(frm)]


# An append whose answer is lost.


def test_an_append_whose_answer_is_lost_is_asked_about_elsewhere_and_is_there_once(
    engine: Etcds, tmp_path: Path
) -> None:
    async def run() -> None:
        async with (
            Proxy(engine.members[0].port) as proxy,
            opened([proxy.endpoint, engine.endpoints[0]], tmp_path) as log,
        ):
            epoch = await filled(log, 3)
            proxy.answers.clear()
            await log.append(4, b"entry 4", epoch)
            assert proxy.held.is_set()
            await log.append(5, b"entry 5", epoch)
            assert await read(log, 3) == [b"entry 3", b"entry 4", b"entry 5"]

    asyncio.run(run())


def test_an_append_that_nobody_answers_is_unknown_and_may_be_asked_for_again(engine: Etcds, tmp_path: Path) -> None:
    async def run() -> None:
        async with Proxy(engine.members[0].port) as proxy, opened([proxy.endpoint], tmp_path) as log:
            epoch = await filled(log, 3)
            proxy.answers.clear()
            with pytest.raises(Unavailable, match="not answered"):
                await log.append(4, b"entry 4", epoch)
            proxy.answers.set()
            async with opened([engine.endpoints[0]], tmp_path) as other:
                assert await read(other, 4) == [b"entry 4"]
                await other.append(4, b"entry 4", epoch)
                with pytest.raises(Fenced, match="other bytes"):
                    await other.append(4, b"something else", epoch)
                assert await other.bounds() == (1, 4)

    asyncio.run(run())


def test_an_append_that_comes_late_finds_a_new_leader_and_is_not_done(engine: Etcds, tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            Proxy(engine.members[0].port) as proxy,
            opened([proxy.endpoint], tmp_path, node="old") as old,
            opened(engine.endpoints, tmp_path, node="new") as new,
        ):
            epoch = await filled(old, 3)
            proxy.hears.clear()
            late = asyncio.create_task(old.append(4, b"late", epoch))
            await proxy.held.wait()
            await new.append(4, b"new", await new.campaign())
            proxy.hears.set()
            with pytest.raises(Fenced) as caught:
                await late
            assert caught.value.facts["leader"] == "new"
            assert await read(new, 4) == [b"new"]

    asyncio.run(run())


# Following.


class Doctored(EtcdLog):
    """A log whose first page names another revision, so that the watch behind it begins elsewhere."""

    def __init__(self, *args: Any, by: int, **more: Any) -> None:
        super().__init__(*args, **more)
        self._by, self._page = by, self._follower.page
        self.pages = 0
        self._follower.page = self._doctored  # type: ignore[method-assign]  # this one alone asks otherwise

    async def _doctored(self, frm: int, last: int | None = None) -> Page:
        page = await self._page(frm, last)
        self.pages += 1
        return page._replace(revision=max(0, page.revision + self._by)) if self.pages == 1 else page


async def follow_while_appending(log: Doctored, frm: int, epoch: Epoch, indexes: range) -> list[int]:
    """Append entries as soon as the log is followed, and return what following shows of them."""
    following = log.follow(frm)
    shown: list[int] = []
    waiting = asyncio.ensure_future(anext(following))
    for index in indexes:
        await asyncio.sleep(0)
        await log.append(index, b"entry %d" % index, epoch)
    while not shown or shown[-1] < indexes[-1]:
        shown.append((await waiting).index)
        waiting = asyncio.ensure_future(anext(following))
    waiting.cancel()
    await asyncio.wait([waiting])
    return shown


@pytest.mark.parametrize("by", [4, 1_000_000], ids=["leaves-out-entries", "says-nothing"])
def test_a_watch_that_does_not_show_everything_is_not_believed(engine: Etcds, tmp_path: Path, by: int) -> None:
    async def run() -> None:
        async with asyncio.timeout(30), Doctored(engine.endpoints, tmp_path.name, settings=QUICK, by=by) as log:
            epoch = await filled(log, 3)
            assert await follow_while_appending(log, 4, epoch, range(4, 24)) == list(range(4, 24))
            assert log.pages > 1

    asyncio.run(run())


def test_a_watch_from_what_is_compacted_reads_instead_and_misses_nothing(engine: Etcds, tmp_path: Path) -> None:
    async def run() -> None:
        async with asyncio.timeout(30), Doctored(engine.endpoints, tmp_path.name, settings=QUICK, by=-(10**9)) as log:
            epoch = await filled(log, 30)
            await log.truncate(25, epoch)
            assert await follow_while_appending(log, 31, epoch, range(31, 40)) == list(range(31, 40))
            assert log.pages > 1

    asyncio.run(run())


def test_who_is_cut_off_while_the_log_is_truncated_needs_a_snapshot(engine: Etcds, tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            Proxy(engine.members[0].port) as proxy,
            opened([proxy.endpoint], tmp_path) as behind,
            opened(engine.endpoints, tmp_path) as log,
        ):
            epoch = await filled(log, 3)
            following = behind.follow(1)
            assert [(await anext(following)).index for _ in range(3)] == [1, 2, 3]
            proxy.hears.clear()
            proxy.answers.clear()
            for index in range(4, 50):
                await log.append(index, b"entry %d" % index, epoch)
            await log.truncate(40, epoch)
            proxy.hears.set()
            proxy.answers.set()
            with pytest.raises(SnapshotNeeded) as caught:
                [entry async for entry in following]
            assert caught.value.facts["first"] == 40

    asyncio.run(run())


# Where the log begins.


def test_a_log_that_begins_behind_a_snapshot_goes_on_from_there(engine: Etcds, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(engine.endpoints, tmp_path, base=100) as log:
            assert await log.bounds() == (101, 100)
            epoch = await log.campaign()
            with pytest.raises(ValueError, match="gap"):
                await log.append(102, b"too far", epoch)
            with pytest.raises(Fenced):
                await log.append(100, b"before", epoch)
            await log.append(101, b"first", epoch)
            await log.append(101, b"first", epoch)
            await log.append(102, b"second", epoch)
            assert await read(log, 101) == [b"first", b"second"]
            with pytest.raises(SnapshotNeeded) as caught:
                await read(log, 100)
            assert caught.value.facts["first"] == 101
        async with opened(engine.endpoints, tmp_path, base=7) as again:
            assert await again.bounds() == (101, 102)

    asyncio.run(run())


def test_the_place_a_log_began_behind_is_never_written_again(engine: Etcds, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(engine.endpoints, tmp_path, base=100) as log:
            epoch = await log.campaign()
            for index in range(101, 111):
                await log.append(index, b"entry %d" % index, epoch)
            await log.truncate(108, epoch)
            for index in (100, 101, 104, 107):
                with pytest.raises(Fenced):
                    await log.append(index, b"again", epoch)
            assert await log.bounds() == (108, 110)

    asyncio.run(run())


def test_who_led_before_truncates_nothing(engine: Etcds, tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            opened(engine.endpoints, tmp_path, node="old") as old,
            opened(engine.endpoints, tmp_path, node="new") as new,
        ):
            before = await filled(old, 10)
            await new.campaign()
            with pytest.raises(Fenced) as caught:
                await old.truncate(8, before)
            assert caught.value.facts["leader"] == "new"
            assert await new.bounds() == (1, 10)

    asyncio.run(run())


def test_an_entry_that_etcd_would_not_take_is_refused_before_it_is_sent(engine: Etcds, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(engine.endpoints, tmp_path) as log:
            epoch = await filled(log, 1)
            with pytest.raises(Invalid, match="too big"):
                await log.append(2, os.urandom(1_500_000), epoch)
            await log.append(2, bytes(3_000_000), epoch)
            await log.append(3, os.urandom(1_300_000), epoch)
            assert [len(data) for data in await read(log, 2)] == [3_000_000, 1_300_000]

    asyncio.run(run())


def test_what_another_release_has_left_in_another_cluster_is_not_touched(engine: Etcds, tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(engine.endpoints, tmp_path) as log, opened(engine.endpoints, tmp_path / "x") as other:
            await filled(log, 3)
            epoch = await filled(other, 5)
            await other.truncate(5, epoch)
            assert await log.bounds() == (1, 3)
            leader = await anext(aiter(log.leadership()))
            assert [entry async for entry in log.tail(3)] == [Entry(3, leader.epoch, b"entry 3")]

    asyncio.run(run())
