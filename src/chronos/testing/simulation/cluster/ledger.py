"""The one order of all writes, as the nodes were shown it: every node has to be shown the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from chronos.cluster.port import Entry
from chronos.store.commands import decode_entry
from chronos.testing.simulation.ledger import Broken, Ledger
from chronos.testing.simulation.trace import Trace

if TYPE_CHECKING:
    from chronos.testing.simulation.evidence import Evidence


class ClusterLedger(Ledger):
    """Takes every entry that an append has acknowledged, or that a node was given to fold; compares all of them."""

    def __init__(self, evidence: Evidence, trace: Trace, seconds: Callable[[], float], broken: Broken) -> None:
        super().__init__(evidence, trace, seconds, broken)
        self._epochs: list[int] = []

    def shown(self, entry: Entry) -> None:
        """Take an entry that a node has written, or was given to fold."""
        self.acknowledged(entry.index, entry.data)
        epochs = self._epochs
        if entry.index == len(epochs) + 1:
            if epochs and entry.epoch < epochs[-1]:
                what = f"entry {entry.index} is of epoch {entry.epoch}, and the one before it of {epochs[-1]}"
                self._broken("I3", what)
            epochs.append(entry.epoch)
        elif entry.epoch != epochs[entry.index - 1]:
            self._broken("I3", f"entry {entry.index} was shown in two epochs")

    def acknowledged(self, index: int, data: bytes) -> None:
        known = len(self.entries)
        if index == known + 1:
            self._keep(index, data)
            if alive := decode_entry(data).alive:
                self._evidence.alive.append((self._seconds(), alive))
        elif index > known:
            self._broken("I3", f"entry {index} was shown after entry {known}")
        elif self.entries[index - 1] != data:
            self._broken("I3", f"entry {index} was shown with two contents")
