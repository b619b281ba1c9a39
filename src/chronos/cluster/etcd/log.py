"""The log of a cluster, on etcd.

An entry is one key, its index the key's name, so that it is found and compared by its place. Every append is one
transaction that holds only while its author leads, the place is free, and the place before it is taken. Whether an
append that was not answered has been done is seen by asking the same again, at any member.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

from chronos.cluster.etcd import rpc_pb2 as pb
from chronos.cluster.etcd.client import (
    COMPACT,
    COMPACTED,
    NO_SPACE,
    STATUS,
    TXN,
    Client,
    ClientSettings,
    Connect,
    EtcdTls,
    NoAnswer,
    Refused,
    translated,
    unanswered,
)
from chronos.cluster.etcd.contest import Contest
from chronos.cluster.etcd.ends import Reader
from chronos.cluster.etcd.envelope import FORMAT, seal, unseal
from chronos.cluster.etcd.following import Follower, FollowSettings
from chronos.cluster.etcd.keys import Keys, number
from chronos.cluster.etcd.seat import Seat, leader_in
from chronos.cluster.etcd.takeover import Takeover, TakeoverSettings
from chronos.cluster.etcd.txn import absent, delete, exists, found, get, holds, modified_at, put, read, txn
from chronos.cluster.port import Claim, Entry, Epoch, Health, LeaderInfo, Progress
from chronos.errors import (
    ChronosError,
    Fenced,
    FormatUnreadable,
    Invalid,
    SnapshotNeeded,
    StorageFull,
    Unavailable,
)
from chronos.timing.clock import Chance, Clock, SystemChance, SystemClock

_TRIES_MAX = 8
_NODES_MAX = 1_000
_ENTRIES_MAX = 1 << 40


class EtcdLogSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the log uses etcd.

    Attributes:
        bytes_max: What the retained entries may weigh together, before they are compressed.
        value_bytes_max: What one entry may weigh in etcd, which refuses requests of more than 1.5 MB.
        append_s: Seconds for which an append is repeated that is not answered; see also `takeover`.
        append_call_s: Seconds after which it is repeated.
        truncate_entries: How many entries one transaction deletes.
        claim_s: Seconds a claim to the lead may take.
        claim_call_s: Seconds after which it is repeated: what was sent on to a leader of etcd that has died is lost.
        health_s: Seconds after which a log counts as ill that does not say how it is.
    """

    bytes_max: int = 2 << 30
    value_bytes_max: int = 1_400_000
    append_s: float = 5.0
    append_call_s: float = 0.5
    truncate_entries: int = 1_000
    claim_s: float = 0.7
    claim_call_s: float = 0.3
    health_s: float = 2.0
    client: ClientSettings = ClientSettings()
    follow: FollowSettings = FollowSettings()


class EtcdLog:
    """A `ReplicatedLog` on the members of etcd at `endpoints`.

    Args:
        cluster: Names the keys of this cluster; another one may lie in the same etcd.
        base: The index that a new log begins behind: that of the snapshot its nodes begin with.
        takeover: With it, a campaign waits until the leader is not heard any more, and an append ends with
            `Unavailable` when it takes so long that others would take over. Without, the lead is taken at once.
        connect: Makes the channels to the endpoints.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        cluster: str,
        *,
        node: str = "local",
        address: str = "",
        base: int = 0,
        tls: EtcdTls | None = None,
        settings: EtcdLogSettings | None = None,
        takeover: TakeoverSettings | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
        connect: Connect | None = None,
    ) -> None:
        self._settings = settings or EtcdLogSettings()
        self.client = Client(endpoints, tls, self._settings.client, connect=connect)
        self._keys = Keys(cluster)
        self._reader = Reader(self.client, self._keys)
        self._follower = Follower(self.client, self._keys, self._reader, self._settings.follow, self._on_entry)
        self._clock = clock or SystemClock()
        self._chance = chance or SystemChance()
        self._node = node
        self._address = address
        self._begins_behind = base
        self._takeover = Takeover(node, takeover, self._clock.boottime(), self._draw) if takeover else None
        self._newest = (0, 0)  # an index, and what the entries up to it weigh
        self._forgotten: int | None = None  # what all entries weigh together that are no longer there
        self._unsure = 0  # an index at which something may still arrive
        self._said = ""

    async def start(self) -> None:
        """Make the log if there is none.

        Raises:
            FormatUnreadable: A newer release made it.
        """
        keys = self._keys
        request = txn(
            [absent(keys.meta)],
            [put(keys.meta, b"%d" % FORMAT), put(keys.base, number(self._begins_behind))],
            [get(keys.meta)],
        )
        answer = await self._ask(request)
        there = found(answer, 0) if not answer.succeeded else None
        if there is not None and int(there.value) > FORMAT:
            raise FormatUnreadable(
                f"The cluster's log is of format {int(there.value)}; this release reads format {FORMAT}. "
                "Bring this node to the release of the others.",
                format=int(there.value),
            )

    async def stop(self) -> None:
        """Close the connections. What is under way ends with `Unavailable` or `LogFailed`."""
        await self.client.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def append(self, index: int, data: bytes, epoch: Epoch) -> None:
        """Make `data` the entry at `index`; see the port.

        Raises:
            Unavailable: Nobody knows whether it was done. Ask again, with the same bytes, before anything else is
                appended.
            Invalid: It is too big, and was not appended.
        """
        before = await self._weight_before(index)
        if before + len(data) - await self._weight_forgotten() > self._settings.bytes_max:
            raise StorageFull(f"The cluster's log has reached {self._settings.bytes_max} bytes; nothing was changed.")
        entry = Entry(index, epoch.id, data)
        value = await seal(entry, before)
        if len(value) > self._settings.value_bytes_max:
            raise Invalid(
                f"An entry of {len(data)} bytes is too big for the cluster's log, which takes "
                f"{self._settings.value_bytes_max} when they are compressed. Send less at once."
            )
        sent_at = self._clock.boottime()
        within_s = self._takeover.append_within_s(sent_at) if self._takeover else self._settings.append_s
        try:
            async with asyncio.timeout(within_s):
                await self._append(entry, value)
        except TimeoutError as exc:
            raise unanswered(within_s, self._said) from exc
        self._newest = (index, before + len(data))
        self._reader.note(index)
        if self._takeover:
            self._takeover.appended(sent_at)
            self._on_entry(index)

    async def _weight_before(self, index: int) -> int:
        if self._newest[0] != index - 1:
            sealed = await self._reader.entry(index - 1) if index > 1 else None
            self._newest = (index - 1, sealed.upto if sealed is not None else 0)
        return self._newest[1]

    async def _weight_forgotten(self) -> int:
        """Return what lies before the first entry that is retained; the leader alone changes it."""
        if self._forgotten is None:
            base, last = await self._reader.ends()
            first = await self._reader.entry(base + 1) if last > base else None
            self._forgotten = first.before if first is not None else 0
        return self._forgotten

    async def _append(self, entry: Entry, value: bytes) -> None:
        """Ask for the same transaction until somebody says what has become of it."""
        on_base = False
        while True:
            try:
                request = self._appending(entry, value, on_base=on_base)
                answer = await self.client.once(TXN, request, call_s=self._settings.append_call_s)
            except NoAnswer as exc:
                self._unsure, self._said = entry.index, str(exc)
            except Refused as exc:
                if not exc.says(NO_SPACE):
                    raise translated(exc) from exc
                # etcd says so as well when it has written what went just beyond its limit.
                if await self._lies_there(entry):
                    break
                if self._unsure != entry.index:
                    raise translated(exc) from exc
            else:
                if answer.succeeded or await self._is_there(entry, answer):
                    break
                on_base = self._reader.empty_behind == entry.index - 1
            await self.client.pause()
        self._unsure = 0

    def _appending(self, entry: Entry, value: bytes, *, on_base: bool) -> pb.TxnRequest:
        keys, place, before = self._keys, self._keys.entry(entry.index), entry.index - 1
        follows = holds(keys.base, number(before)) if on_base else exists(keys.entry(before))
        # The base is there exactly as long as the log is empty: an old one would let old places be written again.
        done = [put(place, value), delete(keys.base)] if on_base else [put(place, value)]
        return txn(
            [modified_at(keys.leader, entry.epoch), absent(place), follows],
            done,
            [get(keys.leader), get(place), get(keys.entry(before), keys_only=True)],
        )

    async def _is_there(self, entry: Entry, answer: pb.TxnResponse) -> bool:
        """Whether an append that did not hold did so because it was done before; False: ask otherwise.

        Raises:
            Fenced: Another leads, or has written something else there.
            ValueError: There would be a gap.
        """
        leader, at = leader_in(found(answer, 0)), found(answer, 1)
        leads = leader.epoch == entry.epoch
        if at is not None:
            there = unseal(entry.index, at.value).entry
            if there.data == entry.data and (leads or there.epoch == entry.epoch):
                return True
        if not leads:
            self._unsure = 0  # what is still under way has lost its epoch, and will not hold
            raise Fenced(leader=leader.node)
        if at is None and found(answer, 2) is not None:
            return False
        base, last = await self._reader.ends()
        if at is None and entry.index > last + 1:
            raise ValueError(f"entry {entry.index} would leave a gap after {last}")
        if at is not None or entry.index <= base:
            raise Fenced(f"Entry {entry.index} holds other bytes already.", leader=leader.node)
        return False

    async def _lies_there(self, entry: Entry) -> bool:
        there = await self._reader.entry(entry.index)
        return there is not None and there.entry == entry

    async def tail(self, frm: int) -> AsyncIterator[Entry]:
        base, last = await self._reader.ends()
        if frm <= base:
            raise SnapshotNeeded(first=base + 1)
        while frm <= last:
            page = await self._follower.page(frm, last)
            for sealed in page.entries:
                yield sealed.entry
            frm += len(page.entries)

    async def follow(self, frm: int) -> AsyncGenerator[Entry, None]:
        async with aclosing(self._follower.follow(frm)) as entries:
            async for sealed in entries:
                yield sealed.entry

    async def bounds(self) -> tuple[int, int]:
        base, last = await self._reader.ends()
        return base + 1, last

    async def read_barrier(self) -> int:
        return (await self._reader.ends()).last

    async def keep_from(self, entries: int, size: int) -> int:
        return await self._reader.keep_from(entries, size)

    async def truncate(self, below: int, epoch: Epoch) -> None:
        base, last = await self._reader.ends()
        below = min(below, last)
        revision = 0
        while base < below - 1:  # in steps, so that no append waits for long
            base = min(base + self._settings.truncate_entries, below - 1)
            revision = await self._forget(base, epoch)
        if revision:
            self._forgotten = None
            await self._compact(revision)

    async def forget_what_is_safe(self, reserve_bytes: int) -> None:
        """Delete what most members have on disk, down to a reserve. Needs no room, and nobody to lead.

        Raises:
            Fenced: Somebody has taken the lead meanwhile; it may be asked again.
        """
        durable = sorted((one.durable_index for one in (await self.progress()).values()), reverse=True)
        if durable:
            safe = durable[len(durable) // 2]
            below = min(safe + 1, await self._reader.keep_from(_ENTRIES_MAX, reserve_bytes))
            await self.truncate(below, Epoch((await self._leader()).epoch))

    async def compact(self) -> None:
        """Let etcd forget what was overwritten and deleted. Needs no room."""
        answer = await self._ask(txn([], [get(self._keys.meta, keys_only=True)]))
        await self._compact(answer.header.revision)

    async def _forget(self, upto: int, epoch: Epoch) -> int:
        """Delete the entries up to this one; return a revision at which they are gone.

        Nothing is written: that would be refused when etcd has no space left, and then it matters most.
        """
        keys = self._keys
        answer = await self._ask(
            txn(
                [modified_at(keys.leader, epoch.id), exists(keys.entry(upto + 1))],
                [delete(keys.entry(0), keys.entry(upto + 1))],
                [get(keys.leader)],
            )
        )
        if not answer.succeeded:
            leader = leader_in(found(answer, 0))
            if leader.epoch != epoch.id:
                raise Fenced(leader=leader.node)
            raise Unavailable(f"The cluster's log has no entry {upto + 1}, before which it was to be truncated.")
        return answer.header.revision

    async def _compact(self, revision: int) -> None:
        try:
            await self.client.ask(COMPACT, pb.CompactionRequest(revision=revision))
        except Refused as exc:
            if not exc.says(COMPACTED):
                raise translated(exc) from exc

    async def campaign(self) -> Epoch:
        if self._takeover is None:
            return await self._campaign_at_once()
        return await Contest(self, self._takeover, self._clock).won()

    async def _campaign_at_once(self) -> Epoch:
        for _ in range(_TRIES_MAX):
            seen = await self._leader()
            claim = await self.take_over(seen.epoch)
            if claim.won:
                return Epoch(claim.leader.epoch)
        raise Unavailable("Others take the lead faster than this node can.")

    def _on_entry(self, index: int, term: int = 0) -> None:
        if self._takeover:
            self._takeover.heard_entry(self._clock.boottime(), index, term)

    def _draw(self) -> float:
        return int.from_bytes(self._chance.bytes(4), "big") / (1 << 32)

    async def take_over(self, seen: int, last: int | None = None) -> Claim:
        keys = self._keys
        seat = Seat(self._node, self._address, nonce=self._chance.bytes(16)).packed()
        if last is not None and not self._reader.seen and self._reader.empty_behind is None:
            await self._reader.ends()  # whether the log is empty decides what to compare
        quiet = [] if last is None else self._ends_at(last)
        request = txn([modified_at(keys.leader, seen), *quiet], [put(keys.leader, seat)], [get(keys.leader)])
        answer = await self._ask(request, answer_s=self._settings.claim_s, call_s=self._settings.claim_call_s)
        self._forgotten, self._newest = None, (-1, 0)
        if answer.succeeded:
            return Claim(True, LeaderInfo(self._node, self._address, answer.header.revision))
        there = found(answer, 0)
        # An earlier try of this very campaign may have won it, and not have said so.
        won = there is not None and there.value == seat
        leader = leader_in(there)
        return Claim(won, leader, moved=not won and leader.epoch == seen)

    def _ends_at(self, last: int) -> list[pb.Compare]:
        keys = self._keys
        if self._reader.empty_behind == last:
            return [holds(keys.base, number(last))]
        return [exists(keys.entry(last)), absent(keys.entry(last + 1))]

    async def resign(self, epoch: Epoch, to: str | None = None) -> None:
        seat = Seat(to=to or "").packed()
        await self._ask(txn([modified_at(self._keys.leader, epoch.id)], [put(self._keys.leader, seat)]))

    async def _leader(self) -> LeaderInfo:
        return leader_in(found(await self._ask(txn([], [get(self._keys.leader)])), 0))

    async def leadership(self) -> AsyncIterator[LeaderInfo]:
        async with aclosing(self._follower.leadership()) as leaders:
            async for leader in leaders:
                yield leader

    async def publish_progress(self, node: str, durable_index: int, address: str) -> None:
        value = msgspec.json.encode(Progress(durable_index, address))
        await self._ask(txn([], [put(self._keys.progress(node), value)]))

    async def progress(self) -> Mapping[str, Progress]:
        keys = self._keys
        answer = await self._ask(txn([], [read(keys.progress(), keys.progress_end, _NODES_MAX)]))
        kvs = answer.responses[0].response_range.kvs
        return {keys.node(kv.key): msgspec.json.decode(kv.value, type=Progress) for kv in kvs}

    async def health(self) -> Health:
        try:
            async with asyncio.timeout(self._settings.health_s):
                ends = await self._reader.ends()
                weight = await self._reader.weight(ends)
                status = await self.client.ask(STATUS, pb.StatusRequest())
        except TimeoutError:
            return Health(False, 0, 0, 0, str(unanswered(self._settings.health_s, "")))
        except Refused as exc:
            return Health(False, 0, 0, 0, str(translated(exc)))
        except ChronosError as exc:
            return Health(False, 0, 0, 0, str(exc))
        return Health(not status.errors, ends.base + 1, ends.last, weight, "; ".join(status.errors))

    async def _ask(
        self, request: pb.TxnRequest, *, answer_s: float | None = None, call_s: float | None = None
    ) -> pb.TxnResponse:
        try:
            return await self.client.ask(TXN, request, answer_s=answer_s, call_s=call_s)
        except Refused as exc:
            raise translated(exc) from exc
