"""Formats of what lies in a data folder: what this release writes, what it reads, and what it says of the rest.

Every file says its format and the first release that reads it, so that an older release can tell what to use instead.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from chronos import __version__
from chronos.errors import FormatUnreadable, StateDamaged

MARKER = "FORMAT"
"""The file that says the format of the folder as a whole, and so of what cannot say its own: bodies, outputs."""

MARKER_BYTES_MAX = 4_096
_KEY_TEXT = re.compile(r"chronos-key/(\d{1,6})/([0-9A-Za-z.+-]{1,40}):(.*)", re.DOTALL)


class FileFormat(Struct, frozen=True):
    """The formats of one kind of file.

    Attributes:
        what: As messages call it.
        current: What this release writes.
        oldest: The oldest that it reads; what is older has to be brought up to date first.
        since: The first release that reads `current`; it is written into the file.
    """

    what: str
    current: int = 1
    oldest: int = 1
    since: str = "0.1.0"

    def check(self, path: Path, found: Any, needs: Any = "") -> int:
        """Return the format of a file that this release reads.

        Args:
            found: What the file says of its format.
            needs: What it says of the first release that reads it.

        Raises:
            FormatUnreadable: It is newer or older than what this release reads.
            ValueError: It is no format, or contradicts `needs`: the file is damaged.
        """
        if type(found) is not int or found < 0 or not isinstance(needs, str):
            raise ValueError(f"{found!r} is no format")
        if found > self.current:
            if needs and not is_newer(needs, __version__):
                raise ValueError(f"format {found} of release {needs} is none")
            raise FormatUnreadable(self._too_new(path, found, needs), file=str(path), format=found, needs=needs)
        if found < self.oldest:
            raise FormatUnreadable(
                f"{path} ({self.what}) is of format {found}; this release ({__version__}) reads {self.reads}. It does "
                "not belong to the files beside it: restore all of the folder from one backup.",
                file=str(path),
                format=found,
            )
        return found

    @property
    def reads(self) -> str:
        """What this release reads, in words."""
        return f"format {self.current}" if self.oldest == self.current else f"formats {self.oldest} to {self.current}"

    def _too_new(self, path: Path, found: int, needs: str) -> str:
        use = f"release {needs} or newer" if needs else "the release that wrote it, or a newer one"
        return (
            f"{path} ({self.what}) is of format {found}; this release ({__version__}) reads {self.reads}. "
            f"Use {use}, or restore a backup that was made before the upgrade. Nothing was changed."
        )


FOLDER = FileFormat("the data folder")
LOG = FileFormat("the log")
ENTRY = FileFormat("an entry of the log")
STATE = FileFormat("state")
SEGMENT = FileFormat("a segment of history")
MANIFEST = FileFormat("the list of history's segments")
KEY = FileFormat("a key")
BACKUP = FileFormat("a backup")


class Marker(Struct, frozen=True, kw_only=True):
    """What `FORMAT` says.

    Attributes:
        needs: The first release that reads this format.
        written_by: The release that wrote this.
        upgrading_from: While the folder is being upgraded, the format it has reached; else 0.
    """

    format: int
    needs: str = ""
    written_by: str = ""
    upgrading_from: int = 0


def read_marker(folder: Path) -> Marker | None:
    """Return what a data folder says of its format; None when it does not say.

    Raises:
        StateDamaged: The file is not what was written.
    """
    path = folder / MARKER
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MARKER_BYTES_MAX), type=Marker)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as exc:
        raise _marker_damaged(path) from exc


def check_marker(folder: Path, marker: Marker, of: FileFormat = FOLDER) -> None:
    """See whether this release reads a folder that says this of its format.

    Raises:
        FormatUnreadable: It does not.
        StateDamaged: The marker contradicts itself.
    """
    try:
        of.check(folder, marker.format, marker.needs)
    except ValueError as exc:
        raise _marker_damaged(folder / MARKER) from exc


def _marker_damaged(path: Path) -> StateDamaged:
    return StateDamaged(
        f"{path} is not what was written. When no release but {__version__} has ever used this folder, remove that "
        "file, and the next start writes it anew; else restore a backup.",
        file=str(path),
    )


def key_text(key: bytes) -> str:
    """Return a key as its file has it."""
    return f"chronos-key/{KEY.current}/{KEY.since}:{key.hex()}"


def key_of(path: Path, text: str) -> bytes:
    """Return the key in a file's text.

    Raises:
        FormatUnreadable: A newer release wrote it.
        ValueError: It is no key.
    """
    KEY.check(path, *key_format(text))
    found = _KEY_TEXT.fullmatch(text.strip())
    return bytes.fromhex(found[3] if found else text.strip())


def key_format(text: str) -> tuple[int, str]:
    """Return the format of a key's file, and the first release that reads it."""
    found = _KEY_TEXT.fullmatch(text.strip())
    # Bare, as the first releases wrote it.
    return (int(found[1]), found[2]) if found else (1, "")


def is_newer(release: str, than: str) -> bool:
    """Whether one release is newer than another, by the numbers it begins with; False for what is no release."""
    return _numbers(release) > _numbers(than)


def _numbers(release: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", release)
    return tuple(map(int, found[0].split("."))) if found else ()
