"""A node that is too far behind fetches state and history of another over TLS, goes on after breaks, and verifies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.integration.cluster.members import Pki, member, nobody, two
from tests.integration.server.shop import HandClock, Shop, a_shop, stocked

from chronos.cluster.peers.wire import Call
from chronos.errors import PeerSilent, PeerUnreachable, StorageFull
from chronos.server.snapshots import fetching, offering
from chronos.server.snapshots.calls import OFFER, PIECE, Ask, AskPiece, OfferedFile, SnapshotDamaged, SnapshotGone
from chronos.server.snapshots.fetching import FILES, YARD, fetch
from chronos.server.snapshots.offering import STAGE, Offers
from chronos.store.replacing import replace
from chronos.store.sqlite import SqliteState
from chronos.timing.clock import SeededChance, SystemClock

Q = TypeVar("Q")
A = TypeVar("A")


class Near:
    """Asks an `Offers` in this process, and lets a test spoil what comes back."""

    def __init__(self, offers: Offers) -> None:
        self.offers = offers
        self.asked: list[object] = []
        self.breaks = 0
        self.spoil = 0

    async def call(self, call: Call[Q, A], question: Q, *, within_s: float | None = None) -> A:
        self.asked.append(question)
        if self.breaks:
            self.breaks -= 1
            raise PeerSilent
        handlers: dict[str, Any] = {"snapshot-offer": self.offers.offer, "snapshot-piece": self.offers.piece}
        answer = await handlers.get(call.name, self.offers.done)("n2", question)
        if self.spoil and isinstance(answer, bytes):
            self.spoil -= 1
            answer = bytes([answer[0] ^ 1]) + answer[1:]
        told: A = answer
        return told

    def offsets(self, name: str) -> list[int]:
        return [asked.offset for asked in self.asked if isinstance(asked, AskPiece) and asked.name == name]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (offering, fetching):
        monkeypatch.setattr(module, "PIECE_BYTES_MAX", 16 << 10)
    monkeypatch.setattr(fetching, "BREAK_S", 0.0)


@asynccontextmanager
async def open_shop(folder: Path, seed: int = 1) -> AsyncIterator[tuple[Shop, Offers]]:
    clock = HandClock()
    async with a_shop(folder, seed=seed, clock=clock) as shop:
        await stocked(shop)
        await shop.work(12)
        offers = Offers(folder, shop.state, SystemClock(), SeededChance(random.Random(seed)))
        running = asyncio.create_task(offers.run())
        try:
            yield shop, offers
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert not (folder / STAGE).exists(), "what runs cleans up behind itself"


def behind(folder: Path) -> Path:
    data = folder / "behind"
    (data / "history").mkdir(parents=True)
    return data


async def digest_of(data: Path) -> tuple[int, str]:
    state = SqliteState(data)
    await state.start()
    try:
        return state.applied_index, await state.digest()
    finally:
        await state.stop()


@pytest.mark.asyncio
async def test_a_snapshot_arrives_over_tls_and_is_put_in_place(tmp_path: Path) -> None:
    data = behind(tmp_path)
    async with two(Pki(tmp_path)) as (one, other), open_shop(tmp_path / "shop") as (shop, offers):
        offers.answer(one)
        async with other.lane("n1") as lane:
            fetched = await fetch(lane, data)
        expected = (shop.state.applied_index, await shop.state.digest())
    replace(data, fetched.folder)
    assert await digest_of(data) == expected
    assert fetched.applied == expected[0]
    assert len(list((data / "history").glob("*.db"))) > 1


@pytest.mark.asyncio
async def test_what_goes_on_being_written_is_not_disturbed(tmp_path: Path) -> None:
    data = behind(tmp_path)
    async with open_shop(tmp_path / "shop") as (shop, offers):
        offered = await offers.offer("n2", Ask())
        await shop.work(4)
        assert shop.state.applied_index > offered.applied
        fetched = await fetch(Near(offers), data)
        assert fetched.applied == offered.applied, "it is young, and offered to the next, too"
    replace(data, fetched.folder)
    assert (await digest_of(data))[0] == fetched.applied


@pytest.mark.asyncio
async def test_after_a_break_it_goes_on_where_it_was(tmp_path: Path) -> None:
    data = behind(tmp_path)
    async with open_shop(tmp_path / "shop") as (_, offers):
        near = Near(offers)
        offered = await near.call(OFFER, Ask())

        class CutOff(Near):
            async def call(self, call: Call[Q, A], question: Q, *, within_s: float | None = None) -> A:
                if len(self.asked) == 4:
                    raise asyncio.CancelledError
                return await super().call(call, question)

        with pytest.raises(asyncio.CancelledError):
            await fetch(CutOff(offers), data)
        here = (data / YARD / FILES / "state.db").stat().st_size
        assert 0 < here < offered.files[0].bytes
        near.breaks = 3
        fetched = await fetch(near, data)
        assert near.offsets("state.db")[3] == here, "it goes on, after three breaks"
        assert fetched.copied_bytes == offered.bytes - here


@pytest.mark.asyncio
async def test_a_server_that_forgot_its_snapshot_offers_another(tmp_path: Path) -> None:
    data = behind(tmp_path)
    async with open_shop(tmp_path / "shop") as (shop, offers):

        class Forgets(Near):
            async def call(self, call: Call[Q, A], question: Q, *, within_s: float | None = None) -> A:
                if len(self.asked) == 5:
                    await offers.drop()
                return await super().call(call, question)

        fetched = await fetch(Forgets(offers), data)
        expected = (shop.state.applied_index, await shop.state.digest())
    replace(data, fetched.folder)
    assert await digest_of(data) == expected


@pytest.mark.asyncio
async def test_closed_segments_that_are_here_already_are_not_fetched(tmp_path: Path) -> None:
    data = behind(tmp_path)
    async with open_shop(tmp_path / "shop") as (_, offers):
        offered = await offers.offer("n2", Ask())
        has = offered.files[-1]
        (data / has.name).write_bytes((tmp_path / "shop" / STAGE / has.name).read_bytes())
        near = Near(offers)
        fetched = await fetch(near, data)
    assert has.name.startswith("history/")
    assert near.offsets(has.name) == []
    assert fetched.copied_bytes == offered.bytes - has.bytes


@pytest.mark.asyncio
async def test_a_flipped_bit_is_noticed_fetched_again_and_never_put_in_place(tmp_path: Path) -> None:
    data = behind(tmp_path)
    async with open_shop(tmp_path / "shop") as (_, offers):
        near = Near(offers)
        near.spoil = 1
        await fetch(near, data)
        again = behind(tmp_path / "second")
        near.spoil = 1_000_000
        with pytest.raises(SnapshotDamaged, match="arrived twice"):
            await fetch(near, again)
    assert not (again / "state.db").exists()


@pytest.mark.asyncio
async def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = behind(tmp_path)
    async with open_shop(tmp_path / "shop") as (_, offers):
        true_files = offering._files

        def lying(into: Path) -> list[OfferedFile]:
            return [*true_files(into), OfferedFile("history/../../admin.key", 1, "00")]

        monkeypatch.setattr(offering, "_files", lying)
        with pytest.raises(SnapshotDamaged, match="belong to none"):
            await fetch(Near(offers), data)
    assert not (data / YARD / FILES / STAGE).exists()


@pytest.mark.asyncio
async def test_only_what_is_offered_is_handed_out(tmp_path: Path) -> None:
    async with open_shop(tmp_path / "shop") as (_, offers):
        offered = await offers.offer("n2", Ask())
        for asked in (
            AskPiece("other", "state.db", 0, 10),
            AskPiece(offered.id, "../admin.key", 0, 10),
            AskPiece(offered.id, "state.db-wal", 0, 10),
        ):
            with pytest.raises(SnapshotGone):
                await offers.piece("n2", asked)
        assert len(await offers.piece("n2", AskPiece(offered.id, "state.db", 0, 1 << 30))) == 16 << 10
        assert await offers.piece("n2", AskPiece(offered.id, "state.db", 1 << 40, 10)) == b""


@pytest.mark.asyncio
async def test_without_room_it_is_said_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = behind(tmp_path)
    async with open_shop(tmp_path / "shop") as (_, offers):
        monkeypatch.setattr(offering, "_SPARE_BYTES", 1 << 60)
        with pytest.raises(StorageFull, match="for another node"):
            await fetch(Near(offers), data)
        assert not (tmp_path / "shop" / STAGE).exists()
        monkeypatch.setattr(offering, "_SPARE_BYTES", 0)
        monkeypatch.setattr(fetching, "_SPARE_BYTES", 1 << 60)
        with pytest.raises(StorageFull, match="free here"):
            await fetch(Near(offers), data)


@pytest.mark.asyncio
async def test_a_node_that_stays_away_is_given_up_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "BREAKS_MAX", 3)
    async with member(Pki(tmp_path), "n2", nobody()) as other:
        monkeypatch.setattr(OFFER, "within_s", 0.05)
        async with other.lane("n1") as lane:
            with pytest.raises(PeerUnreachable):
                await fetch(lane, behind(tmp_path))
    assert PIECE.within_s > 0
