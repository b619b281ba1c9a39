"""Servers that peers need: started for one run on loopback, in a folder that is removed afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNPRIVILEGED = "nobody"
START_S = 60.0


@contextmanager
def postgres(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a PostgreSQL with its default durability; yield its address and process id."""
    data, port = folder / "postgres", free_port()
    data.mkdir()
    if os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(data, UNPRIVILEGED)
        for above in (folder, *folder.parents[:1]):
            above.chmod(0o755)
    _as_anybody(["initdb", "-D", str(data), "-U", "bench", "-A", "trust", "-E", "UTF8"], cwd=data)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data}"
    start = ["pg_ctl", "-D", str(data), "-w", "-t", "60", "-o", options, "-l", str(data / "log"), "start"]
    _as_anybody(start, cwd=data)
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        yield f"host=127.0.0.1 port={port} user=bench dbname=postgres", pid
    finally:
        _as_anybody(["pg_ctl", "-D", str(data), "-m", "immediate", "stop"], cwd=data)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _as_anybody(command: list[str], cwd: Path) -> None:
    if os.geteuid() == 0:
        command = ["runuser", "-u", UNPRIVILEGED, "--", *command]
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, timeout=START_S, check=False)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{command[-1]}: {done.stderr.strip().rpartition(chr(10))[2]}")
