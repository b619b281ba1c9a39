"""A log at work on a disk that crashes, and what must be found of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from chronos.cluster.logfile import LogFile
from chronos.errors import ChronosError
from chronos.testing.disk import CrashDisk

BYTES_MAX = 1 << 30


class LogWork:
    """Appends, checkpoints, truncates and opens anew, as a seed says.

    Attributes:
        acknowledged: What was promised to be there, by index.
        under_way: What may be there: the entry whose append has not returned.
        truncated_below: Below this, entries may be gone.
    """

    def __init__(self, disk: CrashDisk, chance: Random, *, synchronous: str = "FULL") -> None:
        self._disk = disk
        self._chance = chance
        self._synchronous = synchronous
        self.file = LogFile(disk.root / "log.db", BYTES_MAX, disk.vfs)
        self._open()
        self.acknowledged: dict[int, bytes] = {}
        self.under_way: dict[int, bytes] = {}
        self.truncated_below = 0
        self.last = self.file.bounds()[1]

    def _open(self) -> None:
        self.file.open()
        assert self.file._db is not None
        self.file._db.execute("PRAGMA synchronous=" + self._synchronous)

    def step(self) -> None:
        """Do one thing."""
        draw = self._chance.random()
        if self.file._db is None:
            self._open()
        elif draw < 0.80:
            self.append()
        elif draw < 0.88:
            self.file.checkpoint()
        elif draw < 0.96:
            self.truncate()
        else:
            self.file.close()
            self._open()

    def append(self) -> None:
        """Append an entry of some size."""
        data = self._chance.randbytes(self._chance.choice((40, 300, 3_000, 9_000)))
        index = self.last + 1
        self.under_way = {index: data}
        self.file.append(index, data, 1)
        self.acknowledged[index] = data
        self.last = index
        self.under_way = {}

    def truncate(self) -> None:
        """Forget some of the oldest entries."""
        first, last = self.file.bounds()
        below = min(first + self._chance.randrange(8), last)
        self.truncated_below = max(self.truncated_below, below)
        self.file.truncate(below, 4)

    def check(self, folder: Path) -> None:
        """Open what a crash has left: all that was acknowledged is there, nothing else, and it verifies."""
        file = LogFile(folder / "log.db", BYTES_MAX)
        file.open()
        try:
            assert file._db is not None
            assert file._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            first, last = file.bounds()
            found = {entry.index: entry.data for entry in file.read(first, last, last)} if last else {}
            assert first <= max(self.truncated_below, 1)
            for index, data in self.acknowledged.items():
                assert index < first or found.get(index) == data, f"entry {index} was acknowledged and is lost"
            beyond = {index: data for index, data in found.items() if index not in self.acknowledged}
            assert beyond.items() <= self.under_way.items(), "nobody has written this"
            assert file.verify() == last - first + 1
        finally:
            file.close()


def survives(check: Callable[[], None]) -> bool:
    """Whether what a crash has left passes the check; a log that cannot be opened does not."""
    try:
        check()
    except (AssertionError, ChronosError):
        return False
    return True
