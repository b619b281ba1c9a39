"""What an earlier life of this node may have left running: its engine, noted in a file, recognised by its flags.

It is ended before another one is started: two engines cannot have one data folder, and the second waits without a word.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import socket
from pathlib import Path

import psutil
import structlog

from chronos.cluster.etcd.failures import EngineFailed
from chronos.cluster.etcd.flags import EngineSettings, HostPort

log = structlog.get_logger("chronos.engine")

_END_S_MAX = 5.0
_LOOK_EVERY_S = 0.05


def note(path: Path, pid: int) -> None:
    """Remember that `pid` is the engine. On a full disk it is not: it runs all the same, and ends with us."""
    try:
        path.write_text(f"{pid}\n")
    except OSError as exc:
        log.warning("engine_pid_not_written", file=str(path), reason=exc.strerror)


def forget(path: Path) -> None:
    """The engine has ended."""
    path.unlink(missing_ok=True)


async def end_orphan(path: Path, engine_dir: Path) -> int | None:
    """End the engine that an earlier life left behind, if there is one; return its pid.

    What is not ours, an etcd of somebody else or another program with the same number, is left alone.

    Raises:
        EngineFailed: It does not end.
    """
    process = find_orphan(path, engine_dir)
    if process is None:
        forget(path)
        return None
    log.warning("engine_orphan", pid=process.pid, folder=str(engine_dir))
    for end in (process.terminate, process.kill):
        try:
            end()
        except psutil.NoSuchProcess:
            break
        except psutil.AccessDenied as exc:
            raise EngineFailed(
                f"An engine of this node's earlier life runs as {exc.pid}, and may not be ended."
            ) from exc
        if await _has_ended(process):
            break
    else:
        raise EngineFailed(
            f"The engine of this node's earlier life (pid {process.pid}) does not end; its disk may hang. End it, then"
            " start this node again."
        )
    forget(path)
    return int(process.pid)


def find_orphan(path: Path, engine_dir: Path) -> psutil.Process | None:
    """Return the process that was noted, if it is an engine on this folder: numbers are given to others again."""
    try:
        process = psutil.Process(int(path.read_text()))
        return process if is_ours(process.cmdline(), engine_dir) else None
    except (OSError, ValueError, psutil.Error):
        return None


def is_ours(command: list[str], engine_dir: Path) -> bool:
    """Whether a command line is that of an engine on this folder."""
    return f"--data-dir={engine_dir}" in command


async def wait_unused(settings: EngineSettings) -> None:
    """Return when nobody uses the engine's folder and its port: one that was killed lets go of them a moment later.

    Raises:
        EngineFailed: Somebody still does after `_END_S_MAX` seconds.
    """
    for _ in range(round(_END_S_MAX / _LOOK_EVERY_S)):
        try:
            check_unused(settings)
        except EngineFailed:
            await asyncio.sleep(_LOOK_EVERY_S)
        else:
            return
    check_unused(settings)


def check_unused(settings: EngineSettings) -> None:
    """See to it that nobody uses the engine's folder or its port.

    Raises:
        EngineFailed: Somebody does.
    """
    if is_locked(settings.engine_dir / "member" / "snap" / "db"):
        raise EngineFailed(
            f"Another process has the engine's data open ({settings.engine_dir}). End it: `fuser -v"
            f" {settings.engine_dir}/member/snap/db` says which."
        )
    host, port = settings.binds
    if is_taken(settings.binds):
        raise EngineFailed(
            f"Port {port} of {host} is in use by another process (`ss -ltnp 'sport = :{port}'` says which). End it, or"
            f" give `cluster.members.{settings.node}.engine` another port on every node."
        )


def is_locked(file: Path) -> bool:
    """Whether another process holds a lock on `file`; a file that is not there is locked by nobody."""
    try:
        with file.open("rb+") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def is_taken(address: HostPort) -> bool:
    """Whether somebody listens where the engine wants to. An address that is not this machine's is taken by nobody."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as exc:
            return exc.errno == errno.EADDRINUSE
    return False


async def _has_ended(process: psutil.Process) -> bool:
    for _ in range(round(_END_S_MAX / _LOOK_EVERY_S)):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(_LOOK_EVERY_S)
    return False
