"""A snapshot of a node on its way into a file: every byte is checked before the file has its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from chronos.model.backupfile import BackupDamaged, BackupExists, Frame, Kind, decode, encode, reader_of
from chronos.timing.clock import Chance
from chronos.wholefile import WholeFile


class Told(Struct, frozen=True):
    """What a snapshot says of itself, as far as it is shown; the server's `Manifest` has more."""

    version: str
    taken_us: int
    first: int
    last: int
    first_us: int
    state_entry: int
    state_us: int
    jobs: int
    taken_on: str = ""

    @property
    def has_log(self) -> bool:
        """Whether it holds the log as well; a node without a majority cannot read that."""
        return self.last >= self.first

    @property
    def reaches_back_us(self) -> int:
        """The earliest instant that it can be brought back to, microseconds since the epoch."""
        return self.first_us if self.first == 1 and self.has_log else self.state_us


class Snapshot:
    """The file to be written.

    Attributes:
        bytes: How many have been written.

    Args:
        passphrase: Encrypts it; empty leaves it as it is.
        replace: Whether a file of this name may be replaced.
        on_bytes: Called with the number of bytes written so far.
    """

    def __init__(
        self,
        path: Path,
        chance: Chance,
        *,
        passphrase: str = "",
        replace: bool = False,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._file = WholeFile(path, BackupExists, replace=replace)
        self._chance = chance
        self._passphrase = passphrase
        self._on_bytes = on_bytes
        self.bytes = 0

    def save(self, ask: Callable[[], Iterable[bytes]]) -> Told:
        """Write what a server hands out, and return what it says of itself.

        Args:
            ask: Asks the server; called only when the file may be written.

        Raises:
            BackupDamaged: What came is not what was sent; nothing is left of it.
            BackupExists: The file is there already, or is being written.
            Invalid: The file cannot be written.
            StorageFull: There is no room for it.
        """
        self._file.check()
        last = Frame(Kind.END, b"")

        def noted() -> Iterator[Frame]:
            nonlocal last
            for frame in decode(reader_of(ask())):
                last = frame
                yield frame

        with self._file.opened() as write:
            for piece in encode(noted(), passphrase=self._passphrase, chance=self._chance):
                write(piece)
                self.bytes += len(piece)
                self._on_bytes(self.bytes)
            try:
                return msgspec.json.decode(last.body, type=Told)
            except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
                raise BackupDamaged from exc
