"""What goes wrong on a disk, and when."""

from __future__ import annotations

from enum import StrEnum

import apsw
from msgspec import Struct


class Doing(StrEnum):
    """What a file system is asked to do."""

    READ = "read"
    WRITE = "write"
    SYNC = "sync"


class Wrong(StrEnum):
    """How it fails.

    Attributes:
        EIO: An input/output error. A sync that fails drops what it should have written.
        FULL: No space is left; nothing is written.
        SHORT: No space is left after half of it.
    """

    EIO = "eio"
    FULL = "full"
    SHORT = "short"


class Fault(Struct, kw_only=True):
    """The `nth` time from now that a file is read, written or synced, it fails.

    Attributes:
        where: Only files whose name contains this count.
        forever: It fails every time from then on, too.
    """

    on: Doing
    wrong: Wrong = Wrong.EIO
    nth: int = 1
    where: str = ""
    forever: bool = False

    def strikes(self, doing: Doing, name: str) -> bool:
        """Whether it is this time; counts it."""
        if doing is not self.on or self.where not in name:
            return False
        self.nth -= 1
        return self.nth == 0 or (self.forever and self.nth < 0)


def failure(wrong: Wrong, doing: Doing, name: str) -> apsw.Error:
    """Return the error that SQLite takes for this failure."""
    if wrong is Wrong.EIO:
        return apsw.IOError(f"{doing} of {name} failed on purpose")
    return apsw.FullError(f"no space for {name}, on purpose")
