"""Who may write a folder's files: never two at a time, though a server may be started before the last one's process
has ended."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from threading import Event

from chronos.errors import DataFolderInUse

LOOK_S, LOOKS_MAX = 0.02, 500


class Locked(Exception):
    """Another process writes there."""


def hold(folder: Path) -> int:
    """Lock a folder for as long as the descriptor that is returned is open.

    Raises:
        Locked: Another process has it.
        OSError: It cannot be locked, as on some file systems that lie on other machines.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(descriptor)
        if isinstance(exc, BlockingIOError):
            raise Locked from None
        raise
    return descriptor


def wait_unused(folder: Path) -> None:
    """Return when no process that an earlier server has started writes there; mostly at once, after 10 s at most.

    Raises:
        DataFolderInUse: One still does.
    """
    for _ in range(LOOKS_MAX):
        try:
            os.close(hold(folder))
        except Locked:
            Event().wait(LOOK_S)
        except OSError:
            return  # where nobody can lock, no such process has ever worked
        else:
            return
    raise DataFolderInUse(
        f"A process of an earlier server still writes to {folder}, and does not end; its disk may hang. `fuser -v "
        f"{folder}` says which. End it, then start again.",
        folder=str(folder),
    )
