"""What the service manager is told, and when."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from chronos.server import supervisor as module
from chronos.server.supervisor import Supervisor, from_environ


class Manager:
    """A service manager's socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(10)

    def heard(self) -> list[str]:
        return self._socket.recv(4_096).decode().split("\n")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_it_is_told_that_the_server_is_ready_and_where(manager: Manager) -> None:
    Supervisor(str(manager.path)).ready("http://127.0.0.1:1")

    assert manager.heard() == ["READY=1", "STATUS=Takes requests at http://127.0.0.1:1"]


def test_it_is_told_that_the_server_stops_and_how_long_that_may_take(manager: Manager) -> None:
    Supervisor(str(manager.path)).stopping(30.0)

    assert manager.heard() == ["STOPPING=1", "STATUS=Lets what runs end, for 30 s at most"]


async def hear(manager: Manager) -> str:
    return (await asyncio.to_thread(manager.heard))[0]


@pytest.mark.asyncio
async def test_it_is_asked_for_patience_until_the_server_is_ready_and_then_told_that_it_turns(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_EVERY_S", 0.01)
    told = Supervisor(str(manager.path), watchdog_s=0.03)
    running = asyncio.create_task(told.run())
    try:
        assert [await hear(manager) for _ in range(2)] == ["STATUS=Starting"] * 2
        told.ready("http://x")
        words = [await hear(manager) for _ in range(20)]
        after = words[words.index("READY=1") + 1 :]
        assert after == ["WATCHDOG=1"] * len(after)
        assert len(after) > 2
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.asyncio
async def test_without_a_watchdog_nothing_is_said_after_ready(manager: Manager) -> None:
    told = Supervisor(str(manager.path))
    told.ready("http://x")
    await told.run()


def test_a_manager_that_is_gone_costs_a_line_in_the_log_and_nothing_else(tmp_path: Path) -> None:
    Supervisor(str(tmp_path / "nobody")).ready("http://x")


def test_an_abstract_name_is_understood() -> None:
    name = "chronos-test-notify-0b1d"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(10)
        from_environ({"NOTIFY_SOCKET": f"@{name}"}, 1).ready("http://x")
        assert listening.recv(100).startswith(b"READY=1")


@pytest.mark.parametrize(
    ("environ", "there", "watchdog_s"),
    [
        ({}, False, 0.0),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, False, 0.0),
        ({"NOTIFY_SOCKET": "/run/x"}, True, 0.0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "60000000"}, True, 60.0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, True, 60.0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, True, 0.0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "soon"}, True, 0.0),
    ],
)
def test_the_environment_says_who_is_to_be_told_and_how_often(
    environ: dict[str, str], there: bool, watchdog_s: float
) -> None:
    found = from_environ(environ, 7)

    assert (found.is_there, found._watchdog_s) == (there, watchdog_s)
