"""What the log has promised: entries that were acknowledged must be there, with the same bytes, in every later life."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from chronos.cluster.local import LocalLog
from chronos.store.commands import decode_entry
from chronos.store.entryfold import fold_entry
from chronos.store.machine import apply
from chronos.store.port import At, Changes
from chronos.store.state import MemoryState
from chronos.testing.simulation.evidence import Entry
from chronos.testing.simulation.trace import Trace

if TYPE_CHECKING:
    from chronos.testing.simulation.evidence import Evidence

OVERLAP = 64
"""How many acknowledged entries are compared when the log is opened again; the chain vouches for the rest."""

Broken = Callable[[str, str], None]


class Ledger:
    """Overhears one node's log and state."""

    def __init__(self, evidence: Evidence, trace: Trace, seconds: Callable[[], float], broken: Broken) -> None:
        self._evidence = evidence
        self._trace = trace
        self._seconds = seconds
        self._broken = broken
        self.entries: list[bytes] = []  # entry 1 first
        self.folded_to = 0

    def acknowledged(self, index: int, data: bytes) -> None:
        """Take an entry whose append has returned."""
        if index != len(self.entries) + 1:
            self._broken("I3", f"entry {index} was appended after entry {len(self.entries)}")
            return
        self._keep(index, data)

    def _keep(self, index: int, data: bytes) -> None:
        self.entries.append(data)
        self._trace.entry(index, data)

    async def reopened(self, log: LocalLog) -> None:
        """Compare what the log has with what it has acknowledged; take in what was durable and not acknowledged."""
        first, last = await log.bounds()
        known = len(self.entries)
        if last < known:
            self._broken("I3", f"entries {last + 1} to {known} were acknowledged, and are gone after a restart")
            return
        begin = max(first, known - OVERLAP + 1)
        if begin > last:
            return
        async for entry in log.tail(begin):
            if entry.index > known:
                self._keep(entry.index, entry.data)
            elif self.entries[entry.index - 1] != entry.data:
                self._broken("I3", f"entry {entry.index} was acknowledged with other bytes than it has after a restart")

    def restored(self, last: int) -> None:
        """Forget the entries after `last`: a restore has taken them back."""
        del self.entries[last:]

    def caught_up(self, applied: int) -> None:
        """Take in what was folded up to entry `applied` where nobody listened, as a restore folds its first entries."""
        known = len(self._evidence.entries)
        if applied <= known:
            return
        state = MemoryState()
        for index, data in enumerate(self.entries[:applied], start=1):
            entry = decode_entry(data)
            changes = fold_entry(apply, state, entry.commands, At(index, entry.time_us))
            state.commit(changes, index, entry.time_us)
            if index > known:
                self._evidence.entries.append(Entry(index, entry.time_us, tuple(changes), self._seconds(), 0))

    def folded(self, index: int, time_us: int, changes: Sequence[Changes], life: int) -> None:
        """Take what an entry has changed; a life that folds it again must come to the same."""
        entries = self._evidence.entries
        if index == len(entries) + 1:
            entries.append(Entry(index, time_us, tuple(changes), self._seconds(), life))
        elif index > len(entries):
            self._broken("I3", f"entry {index} was folded after entry {len(entries)}")
        else:
            self._compare(entries[index - 1], time_us, changes)

    def _compare(self, before: Entry, time_us: int, changes: Sequence[Changes]) -> None:
        same = time_us == before.time_us and all(
            old is not None and new is not None and old.puts == new.puts and old.result == new.result
            for old, new in zip_longest(before.changes, changes)
        )
        if not same:
            self._broken("I19", f"entry {before.index} folds differently in another life")
