"""Following the log and its leader: what is there is read, what comes is watched.

A watch is a hint and nothing more. Indexes are dense, so whatever a watch has left out shows at the next entry, and
is read; a watch that says nothing for a while is not believed either. Reads and watches are those of one member, which
may lag behind: nobody acts on what is followed without asking the majority.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, NamedTuple

import structlog
from msgspec import Struct

from chronos.cluster.etcd import rpc_pb2 as pb
from chronos.cluster.etcd.client import TXN, Client, NoAnswer, Refused, translated
from chronos.cluster.etcd.ends import Reader, base_in, ends_read
from chronos.cluster.etcd.envelope import Sealed, unseal
from chronos.cluster.etcd.keys import Keys
from chronos.cluster.etcd.seat import leader_in
from chronos.cluster.etcd.txn import found, get, read, txn
from chronos.cluster.port import LeaderInfo
from chronos.errors import LogDamaged, SnapshotNeeded

log = structlog.get_logger("chronos.cluster.log")


class FollowSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the log is followed.

    Attributes:
        page_entries: How many entries are read at once.
        silence_s: A watch that has said nothing for so many seconds is given up, and the log is read.
    """

    page_entries: int = 16
    silence_s: float = 2.0


class Page(NamedTuple):
    """Entries read at once, dense, from where was asked.

    Attributes:
        revision: Of etcd: a watch that begins behind it misses nothing that is not on this page.
        term: Of etcd, when they were read.
        more: Whether there are more.
    """

    entries: list[Sealed]
    revision: int
    term: int
    more: bool


class Follower:
    """Follows the log and its leader, as the members of etcd know them.

    Args:
        heard: Called with the index of what has come and the term etcd is in, as soon as it has.
    """

    def __init__(
        self, client: Client, keys: Keys, reader: Reader, settings: FollowSettings, heard: Callable[[int, int], None]
    ) -> None:
        self._heard = heard
        self._client = client
        self._keys = keys
        self._reader = reader
        self._settings = settings

    async def page(self, frm: int, last: int | None = None) -> Page:
        """Return the entries from `frm` on, up to `last`, which is known to be there: then it is linearizable.

        Raises:
            SnapshotNeeded: `frm` was truncated away.
            LogDamaged: One does not verify, or is missing.
            NoAnswer: Without `last`: this member does not answer.
        """
        page, base = await self._read(frm, last)
        if not page.entries or page.entries[0].entry.index != frm:
            page, base = await self._read(frm, last, with_base=True)
            if base >= frm:
                raise SnapshotNeeded(first=base + 1)
        indexes = [sealed.entry.index for sealed in page.entries]
        if indexes != list(range(frm, frm + len(indexes))) or (last is not None and not indexes):
            raise LogDamaged(f"The cluster's log has a hole at or after entry {frm}.", last_good=frm - 1)
        if indexes:
            self._note(indexes[-1], page.term)
        return page

    async def _read(self, frm: int, last: int | None, *, with_base: bool = False) -> tuple[Page, int]:
        """Return what there is from `frm` on, and, with it, what the log begins behind; else 0."""
        keys, local = self._keys, last is None
        end = keys.log_end if last is None else keys.entry(last + 1)
        before = ends_read(keys, local=local) if with_base else []
        request = txn([], [*before, read(keys.entry(frm), end, self._settings.page_entries, local=local)])
        try:
            answer = await (self._client.once(TXN, request) if local else self._client.ask(TXN, request))
        except Refused as exc:
            raise translated(exc) from exc
        there = answer.responses[-1].response_range
        entries = [unseal(keys.index(kv.key), kv.value) for kv in there.kvs]
        page = Page(entries, answer.header.revision, answer.header.raft_term, there.more)
        return page, base_in(keys, answer) if with_base else 0

    async def follow(self, frm: int) -> AsyncGenerator[Sealed, None]:
        """Yield the entries from `frm` on, without end; what cannot be read is tried again, at the next member."""
        while True:
            try:
                page = await self.page(frm)
                for sealed in page.entries:
                    yield sealed
                frm += len(page.entries)
                if not page.more:
                    async with aclosing(self._watched(frm, page.revision + 1)) as watched:
                        async for sealed in watched:
                            yield sealed
                            frm += 1
            except NoAnswer as exc:
                log.debug("following_again", index=frm, why=str(exc))
                await self._client.pause()

    async def _watched(self, frm: int, revision: int) -> AsyncGenerator[Sealed, None]:
        """Yield what a watch shows from `frm` on, until it leaves something out, ends, or is silent."""
        keys = self._keys
        create = pb.WatchCreateRequest(
            key=keys.entry(0),
            range_end=keys.log_end,
            start_revision=revision,
            filters=[pb.WatchCreateRequest.NODELETE],
            progress_notify=True,
            fragment=True,
        )
        async with self._client.watch(create) as following:
            while True:
                message = await self._next(following)
                if message is None:
                    return
                if message.events:
                    self._note(keys.index(message.events[-1].kv.key), message.header.raft_term)
                for event in message.events:
                    index = keys.index(event.kv.key)
                    if index > frm:
                        log.warning("watch_left_out", wanted=frm, came=index)
                        return
                    if index == frm:
                        yield unseal(index, event.kv.value)
                        frm += 1

    def _note(self, index: int, term: int) -> None:
        self._reader.note(index)
        self._heard(index, term)

    async def _next(self, following: Callable[[], Any]) -> pb.WatchResponse | None:
        """Return the watch's next message; None when it has been silent for too long.

        Raises:
            NoAnswer: It has ended, or what it was to begin with is compacted.
        """
        try:
            async with asyncio.timeout(self._settings.silence_s):
                message: pb.WatchResponse = await following()
        except TimeoutError:
            return None
        if message.canceled or message.compact_revision:
            raise NoAnswer(message.cancel_reason or f"compacted up to revision {message.compact_revision}")
        return message

    async def leadership(self) -> AsyncGenerator[LeaderInfo, None]:
        """Yield who leads, and every change of it; what a member that lags behind says of the past is left out."""
        epoch = -1
        while True:
            try:
                answer = await self._client.once(TXN, txn([], [get(self._keys.leader, local=True)]))
                leader = leader_in(found(answer, 0))
                if leader.epoch > epoch:
                    yield leader
                    epoch = leader.epoch
                async with aclosing(self._watched_leader(answer.header.revision + 1)) as watched:
                    async for leader in watched:
                        if leader.epoch > epoch:
                            yield leader
                            epoch = leader.epoch
            except NoAnswer as exc:
                log.debug("following_the_lead_again", why=str(exc))
                await self._client.pause()
            except Refused as exc:
                raise translated(exc) from exc

    async def _watched_leader(self, revision: int) -> AsyncGenerator[LeaderInfo, None]:
        create = pb.WatchCreateRequest(
            key=self._keys.leader,
            start_revision=revision,
            filters=[pb.WatchCreateRequest.NODELETE],
            progress_notify=True,
        )
        async with self._client.watch(create) as following:
            while (message := await self._next(following)) is not None:
                for event in message.events:
                    yield leader_in(event.kv)
