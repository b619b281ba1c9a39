"""The command of the unit, started as systemd starts it: what it tells, and how it ends."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chronos.cli.service import systemd
from chronos.cli.service.plan import Installation

PATIENCE_S = 40.0
WATCHDOG_US = 300_000


@contextmanager
def notified(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(PATIENCE_S)
        yield listening


def exec_start(data_dir: Path) -> list[str]:
    """Return the command of the unit."""
    program = Path(sys.executable).with_name("chronos")
    unit = systemd.unit(Installation(program=program, data_dir=data_dir, home=data_dir, is_personal=True))
    [line] = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    return shlex.split(line.removeprefix("ExecStart="))


def heard_until(listening: socket.socket, word: str) -> list[str]:
    """Return the first lines of what is told, up to the one that is waited for."""
    heard: list[str] = []
    while not heard or heard[-1] != word:
        heard.append(listening.recv(4_096).decode().partition("\n")[0])
    return heard


def test_the_manager_hears_of_readiness_of_a_turning_loop_and_of_the_end(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    environ = {
        "PATH": os.environ["PATH"],
        "NOTIFY_SOCKET": str(address),
        "WATCHDOG_USEC": str(WATCHDOG_US),
        "CHRONOS_HTTP_ADDRESS": "127.0.0.1:0",
    }
    with notified(address) as listening:
        server = subprocess.Popen(
            exec_start(tmp_path / "my data"), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            assert "WATCHDOG=1" not in heard_until(listening, "READY=1")
            assert heard_until(listening, "WATCHDOG=1")
            server.send_signal(signal.SIGTERM)
            assert heard_until(listening, "STOPPING=1")
            assert server.wait(PATIENCE_S) == 0
        finally:
            server.kill()
            server.communicate()


@pytest.mark.parametrize(("name", "text"), [("FORMAT", '{"format": 99}')])
def test_what_starting_again_would_not_heal_ends_with_a_code_that_is_not_started_again(
    tmp_path: Path, name: str, text: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / name).write_text(text)
    ended = subprocess.run(exec_start(data), capture_output=True, timeout=PATIENCE_S, check=False, env={})

    assert str(ended.returncode) in systemd.NO_RESTART.split()
