"""Where the log begins and ends, and what a stretch of it weighs."""

from __future__ import annotations

from typing import NamedTuple

from chronos.cluster.etcd import rpc_pb2 as pb
from chronos.cluster.etcd.client import RANGE, TXN, Client, Refused, translated
from chronos.cluster.etcd.envelope import Sealed, unseal
from chronos.cluster.etcd.keys import Keys
from chronos.cluster.etcd.txn import count, found, get, read, txn
from chronos.errors import LogDamaged, Unavailable

_READS_MAX = 3


class Ends(NamedTuple):
    """The entries there are: those behind `base`, up to `last`."""

    base: int
    last: int


class Reader:
    """Reads the ends of the log, and single entries, linearizable.

    Attributes:
        seen: The highest index that is known to have been committed. It only saves looking at what lies before it.
        empty_behind: What the log began behind when it was last asked for its ends; None when it had entries.
    """

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self.seen = 0
        self.empty_behind: int | None = None

    def note(self, index: int) -> None:
        """Remember that the entry at `index` is committed."""
        self.seen = max(self.seen, index)

    async def ends(self) -> Ends:
        """Return where the log begins and ends.

        Raises:
            LogDamaged: An entry is gone that this node has seen: etcd has lost what it had acknowledged.
        """
        keys, seen = self._keys, self.seen
        # Counted from where it was seen to reach: etcd finds the last key of a range only by reading all of it.
        request = txn([], [*ends_read(keys), count(keys.entry(seen or 1), keys.log_end)])
        answer = await self._ask(request)
        base = base_in(keys, answer)
        there = int(answer.responses[2].response_range.count)
        last = max(seen - 1, base) + there
        if seen > base and not there:
            raise LogDamaged(
                f"Entry {seen} of the cluster's log was acknowledged and is gone. A member of etcd may have lost its "
                "disk and come back under its old name. Stop all nodes and restore a backup, or ask for help.",
                last_good=base,
            )
        self.note(last)
        self.empty_behind = base if last == base else None
        return Ends(base, last)

    async def entry(self, index: int) -> Sealed | None:
        """Return one entry; None when it is not there."""
        try:
            answer = await self._client.ask(RANGE, pb.RangeRequest(key=self._keys.entry(index)))
        except Refused as exc:
            raise translated(exc) from exc
        return unseal(index, answer.kvs[0].value) if answer.kvs else None

    async def weight(self, ends: Ends) -> int:
        """Return what the entries weigh."""
        for _ in range(_READS_MAX):
            if ends.last == ends.base:
                return 0
            request = txn([], [get(self._keys.entry(ends.base + 1)), get(self._keys.entry(ends.last))])
            answer = await self._ask(request)
            first, last = found(answer, 0), found(answer, 1)
            if first is not None and last is not None:
                return unseal(ends.last, last.value).upto - unseal(ends.base + 1, first.value).before
            ends = await self.ends()  # truncated in between
        raise Unavailable("The cluster's log is being truncated faster than it can be weighed.")

    async def keep_from(self, entries: int, size: int) -> int:
        """Return the lowest index from which on at most `entries` entries of `size` bytes together remain."""
        ends = await self.ends()
        newest = await self.entry(ends.last) if ends.last > ends.base else None
        if newest is None:
            return ends.last
        low, high = max(ends.base + 1, ends.last - entries + 1), ends.last
        while low < high:  # the lowest that is light enough
            middle = (low + high) // 2
            at = await self.entry(middle)
            if at is None or newest.upto - at.before > size:  # gone: somebody has truncated in between
                low = middle + 1
            else:
                high = middle
        return low

    async def _ask(self, request: pb.TxnRequest) -> pb.TxnResponse:
        try:
            return await self._client.ask(TXN, request)
        except Refused as exc:
            raise translated(exc) from exc


def ends_read(keys: Keys, *, local: bool = False) -> list[pb.RequestOp]:
    """Return the two reads from which `base_in` tells where the log begins."""
    return [get(keys.base, local=local), read(keys.entry(0), keys.log_end, 1, keys_only=True, local=local)]


def base_in(keys: Keys, answer: pb.TxnResponse) -> int:
    """Return the entry that the log begins behind, by the first two reads of an answer."""
    base, first = found(answer, 0), found(answer, 1)
    if first is not None:
        return keys.index(first.key) - 1
    return int(base.value, 16) if base is not None else 0
