"""Servers that peers need: started for one run on loopback, in a folder that is removed afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

UNPRIVILEGED = "nobody"
START_S = 60.0
STOP_S = 10.0
LOOK_S = 0.05


class Server(NamedTuple):
    """A server that runs.

    Attributes:
        address: What drivers are told.
        pid: Its first process.
        version: What it says of itself.
    """

    address: str
    pid: int
    version: dict[str, str]


@contextmanager
def postgres(folder: Path) -> Iterator[Server]:
    """Run a PostgreSQL with its default durability."""
    data, port = folder / "postgres", free_port()
    data.mkdir()
    if os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(data, UNPRIVILEGED)
        folder.chmod(0o755)
    _as_anybody(["initdb", "-D", str(data), "-U", "bench", "-A", "trust", "-E", "UTF8"], cwd=data)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data}"
    start = ["pg_ctl", "-D", str(data), "-w", "-t", f"{START_S:g}", "-o", options, "-l", str(data / "log"), "start"]
    _as_anybody(start, cwd=data)
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        version = {"postgresql": (data / "PG_VERSION").read_text().strip()}
        yield Server(f"host=127.0.0.1 port={port} user=bench dbname=postgres", pid, version)
    finally:
        _as_anybody(["pg_ctl", "-D", str(data), "-m", "immediate", "stop"], cwd=data)


@contextmanager
def redis(folder: Path) -> Iterator[Server]:
    """Run a Redis that appends what it is told to a file, and fsyncs that each second; no snapshots."""
    port = free_port()
    durability = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    place = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--logfile", str(folder / "redis.log")]
    server = subprocess.Popen(["redis-server", *place, *durability], stdout=subprocess.DEVNULL)
    try:
        yield Server(f"redis://127.0.0.1:{port}/0", server.pid, {"redis": _redis_version(port)})
    finally:
        server.terminate()
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(STOP_S)


def _redis_version(port: int) -> str:
    """Return what it says of itself, once it answers; TimeoutError when it does not in time."""
    for _ in range(int(START_S / LOOK_S)):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=START_S) as connection:
                connection.sendall(b"INFO server\r\n")
                answer = connection.recv(65_536)
        except ConnectionRefusedError:
            answer = b""
        if b"redis_version:" in answer:
            return answer.partition(b"redis_version:")[2].partition(b"\r\n")[0].decode()
        time.sleep(LOOK_S)
    raise TimeoutError(f"redis-server did not answer within {START_S:g} s")


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
