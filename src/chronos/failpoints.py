"""Places where a test kills the server, to see what the next start makes of it. Off, and next to free, by default.

    CHRONOS_FAILPOINTS=FOLDER chronos server …
    echo 3 > FOLDER/state.flush-midway          # the third time from now on that it comes there, it dies as of SIGKILL

The file is renamed to `NAME.met` before the process ends, so that the next one lives.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "CHRONOS_FAILPOINTS"

NAMES = (
    "log.append-before",  # an entry is put together, and nothing of it is on disk
    "log.append-after",  # an entry is durable, and nobody has been told
    "log.checkpoint-midway",  # the write-ahead log is folded in, and not started anew
    "log.truncate-midway",  # some entries are deleted, and not yet for good
    "entry.appended",  # an entry is durable and not folded
    "start.granted",  # attempts may be sent, and no executor knows of them
    "dispatch.first-byte",  # the target has heard from us
    "dispatch.answered",  # attempts have ended, and nothing of it is written
    "state.flush-before",  # entries are folded in memory only
    "state.flush-midway",  # history has what state has not
    "state.checkpoint-midway",  # history is checkpointed, and state is not
    "history.rotate-midway",  # a new segment is there, and the manifest does not know
    "truncation.before",  # state is durable, and the log still has it all
    "drain.before",  # asked to stop, with attempts under way
)

IN_COMMANDS = (
    "backup.midway",  # a piece of the backup is written
    "backup.before-rename",  # the backup is whole, and has not its name yet
    "restore.midway",  # a piece of the backup is read, and maybe written
    "restore.before-rename",  # the folder is whole, and not in its place yet
)
"""Places that a command comes to, and no server."""

IN_CLUSTERS = (
    "snapshot.offered",  # it is known what there is to fetch, and nothing of it is here
    "snapshot.piece",  # a piece of it is here
    "snapshot.fetched",  # all of it is here, and not yet verified
    "snapshot.ready",  # another member's state and history are here, whole, and not in their place
    "snapshot.midway",  # one of both is in its place
    "growth.folded",  # all of a lone node's log is in its state, and nothing says that it becomes a member
    "growth.begun",  # that is said, and the cluster has no log yet
    "growth.founded",  # the cluster has its log, and the one from before is in its place yet
    "growth.midway",  # that one is aside, and nothing says that it is done
)
"""Places that only a member of a cluster comes to, or a node that becomes one."""

_folder: Path | None = None


def switch_on(environ: Mapping[str, str]) -> str:
    """Read the environment, and return what the log is to be warned of; empty when it asks for nothing."""
    global _folder
    _folder = None
    given = environ.get(VARIABLE)
    if not given:
        return ""
    folder = Path(given)
    if not _is_private(folder):
        return f"{VARIABLE} is refused: {folder} is not a folder that only this user can write to."
    _folder = folder
    return f"{VARIABLE} is set: this server dies on purpose when a file in {folder} says so. Unset it in production."


def _is_private(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def reach(name: str) -> None:
    """Die here if a test has asked for it."""
    if _folder is not None:
        _meet(_folder / name)


def _meet(asked: Path) -> None:
    try:
        times = int(asked.read_text() or "1")
    except (FileNotFoundError, ValueError):
        return
    if times > 1:
        asked.write_text(str(times - 1))
        return
    asked.rename(asked.with_name(asked.name + ".met"))
    os.kill(os.getpid(), signal.SIGKILL)
