"""What a node asks another for a snapshot."""

from __future__ import annotations

from msgspec import Struct

from chronos.cluster.peers.wire import Call
from chronos.errors import Conflict, NotFound

PIECE_BYTES_MAX = 1 << 20


class SnapshotGone(NotFound):
    """The snapshot is not offered any more; ask for another."""


class SnapshotDamaged(Conflict):
    """What arrived of the snapshot is not what was offered."""


class AskStanding(Struct, frozen=True, array_like=True):
    """How far have you come?"""


class Standing(Struct, frozen=True, array_like=True):
    """How far a member has come.

    Attributes:
        applied: The last entry of the log that its state has.
    """

    applied: int


class Ask(Struct, frozen=True, array_like=True):
    """Offer me a snapshot, with at least this entry of the log: what comes before the next is gone from it."""

    above: int = 0


class OfferedFile(Struct, frozen=True, array_like=True):
    """A file of it; `sha256` is hex."""

    name: str
    bytes: int
    sha256: str


class Offered(Struct, frozen=True, array_like=True):
    """A snapshot.

    Attributes:
        id: What to ask for pieces of it with.
        applied: The last entry of the log that its state has; the log is followed from the next on.
        files: State first, then history from the newest on.
    """

    id: str
    applied: int
    files: list[OfferedFile]

    @property
    def bytes(self) -> int:
        """What all of it weighs."""
        return sum(file.bytes for file in self.files)


class AskPiece(Struct, frozen=True, array_like=True):
    """Give me a piece of this file, from `offset` on; an empty one means that it ends there."""

    id: str
    name: str
    offset: int
    size: int


class Done(Struct, frozen=True, array_like=True):
    """I have all of it."""

    id: str


STANDING = Call("snapshot-standing", AskStanding, Standing, within_s=3.0)
OFFER = Call("snapshot-offer", Ask, Offered, within_s=110.0)
PIECE = Call("snapshot-piece", AskPiece, bytes, within_s=10.0)
DONE = Call("snapshot-done", Done, bool, within_s=5.0)
