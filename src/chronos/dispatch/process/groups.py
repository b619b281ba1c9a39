"""Process groups on disk: whom to end at the next start, should this one not live to do it.

One small file for each running group: its leader's pid, when that started, and the boot it belongs to. A number
that was given to somebody else in the meantime is recognised by its start time and left alone.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

PROC = Path("/proc")


class GroupRecord(Struct, frozen=True):
    """A running process group. `started` is the leader's start time in clock ticks since boot."""

    pid: int
    started: int
    boot: str
    execution_id: str
    attempt: int


class GroupRecords:
    """The records of one server, in a folder of their own (0700)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, pid: int, execution_id: str, attempt: int) -> None:
        """Remember that `pid` leads a group. Nothing is remembered where the system cannot tell start times."""
        started = start_ticks(pid)
        if started is None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = GroupRecord(pid, started, boot_id(), execution_id, attempt)
        path = self._path(pid)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(msgspec.json.encode(record))

    def remove(self, pid: int) -> None:
        """Forget the group of `pid`."""
        self._path(pid).unlink(missing_ok=True)

    def end_orphans(self) -> list[GroupRecord]:
        """Kill what recorded groups have left over, forget all records, and return those that were killed."""
        ended: list[GroupRecord] = []
        for path in sorted(self._folder.glob("*.group")):
            with suppress(OSError, msgspec.DecodeError):
                record = msgspec.json.decode(path.read_bytes(), type=GroupRecord)
                if _is_alive(record):
                    end_group(record.pid)
                    ended.append(record)
            path.unlink(missing_ok=True)
        return ended

    def _path(self, pid: int) -> Path:
        return self._folder / f"{pid}.group"


def end_group(pgid: int, sign: signal.Signals = signal.SIGKILL) -> bool:
    """Send `sign` to a whole process group. Returns whether there was one."""
    assert pgid > 1
    try:
        os.killpg(pgid, sign)
    except ProcessLookupError:
        return False
    except PermissionError:
        # macOS says so of a group that consists of zombies.
        return False
    return True


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone or nobody can say."""
    stat = _stat(pid)
    return int(stat[19]) if stat else None


def boot_id() -> str:
    """Return what tells this boot from every other one; empty where the system does not say."""
    with suppress(OSError):
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return ""


def _is_alive(record: GroupRecord) -> bool:
    if record.boot != boot_id():
        return False
    leader = start_ticks(record.pid)
    if leader is not None:
        return leader == record.started
    # The leader is gone. The kernel gives its number to nobody else while a member of its session is left.
    return any(_is_member(int(entry.name), record) for entry in PROC.iterdir() if entry.name.isdigit())


def _is_member(pid: int, record: GroupRecord) -> bool:
    stat = _stat(pid)
    return bool(stat) and int(stat[2]) == record.pid and int(stat[3]) == record.pid and int(stat[19]) >= record.started


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third (state) on; empty when there is no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    # The second field is the program's name in parentheses, and may hold blanks and parentheses of its own.
    return text.rpartition(")")[2].split()
