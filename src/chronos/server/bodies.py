"""What targets answered and programs printed, kept on this node: small files, bounded in number and size."""

from __future__ import annotations

import os
import re
from pathlib import Path

BODY_BYTES_MAX = 64 * 1024
FILES_MAX = 100_000
_SWEEP_EVERY = 1_000

_ID = re.compile(r"^[a-z0-9_]{1,64}$")


def remove_before(folder: Path, before_s: int) -> int:
    """Remove the files of `folder` that were last written to before `before_s`; return how many."""
    # Not by the instant in the name: a backfill runs today what was due a year ago.
    old = [path for path in folder.glob("*/*") if path.stat().st_mtime < before_s]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


class Bodies:
    """Files named after execution and attempt, spread over folders by the last characters of the id.

    Outside the promise about loss: they are not replicated, and the oldest go when there are too many.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = 0

    def keep(self, execution_id: str, attempt: int, body: bytes) -> str:
        """Write `body` (at most 64 KiB of it) and return its reference; an empty one when it could not be kept."""
        path = self._path(execution_id, attempt)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(body[:BODY_BYTES_MAX])
        except OSError:
            return ""
        self._kept += 1
        if self._kept % _SWEEP_EVERY == 0:
            self.sweep()
        return f"{execution_id}/{attempt}"

    def read(self, execution_id: str, attempt: int) -> bytes | None:
        """Return what was kept, or None."""
        if not _ID.match(execution_id):
            return None
        try:
            return self._path(execution_id, attempt).read_bytes()[:BODY_BYTES_MAX]
        except OSError:
            return None

    def sweep(self) -> int:
        """Remove the oldest files beyond 100,000; return how many."""
        files = sorted(self._folder.glob("*/*"), key=lambda path: path.name)
        # Ids are ordered in time, so the names are, too.
        for path in files[: max(0, len(files) - FILES_MAX)]:
            path.unlink(missing_ok=True)
        return max(0, len(files) - FILES_MAX)

    def expire(self, before_s: int) -> int:
        """Remove what belongs to executions that had ended before `before_s`; return how many files."""
        return remove_before(self._folder, before_s)

    def _path(self, execution_id: str, attempt: int) -> Path:
        return self._folder / execution_id[-2:] / f"{execution_id}.{attempt}"
