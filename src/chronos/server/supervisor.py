"""What the service manager is told: that the server is ready, that it stops, and that it still turns.

The protocol is systemd's `sd_notify(3)`: datagrams to the socket that `NOTIFY_SOCKET` names. Without one, nothing
is sent.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

import structlog

log = structlog.get_logger("chronos.server")

SEND_S = 1.0
PINGS_A_PERIOD = 3
"""One that comes late is no reason to kill a server."""

START_S = 60
START_EVERY_S = 20.0


class Supervisor:
    """Tells a service manager; to nobody when `address` is empty.

    Args:
        address: A path, or a name that begins with `@`.
        watchdog_s: The server is killed when it is silent for that long; 0 for never.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._is_ready = asyncio.Event()

    @property
    def is_there(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._address)

    def ready(self, url: str) -> None:
        """Say that requests are taken."""
        self._is_ready.set()
        self._send(f"READY=1\nSTATUS=Takes requests at {url}")

    def stopping(self, drain_s: float) -> None:
        """Say that it stops, and how long that may take at most."""
        self._send(f"STOPPING=1\nSTATUS=Lets what runs end, for {drain_s:.0f} s at most")

    async def run(self) -> None:
        """Ask for patience until the server is ready, then say that the event loop turns; until cancelled."""
        while not self._is_ready.is_set():
            # A long log takes long to verify.
            self._send(f"STATUS=Starting\nEXTEND_TIMEOUT_USEC={START_S * 1_000_000}")
            await self._wait_for_ready()
        while self._watchdog_s > 0:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / PINGS_A_PERIOD)

    async def _wait_for_ready(self) -> None:
        try:
            async with asyncio.timeout(START_EVERY_S):
                await self._is_ready.wait()
        except TimeoutError:
            pass

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.settimeout(SEND_S)
            try:
                notify.sendto(text.encode(), self._address)
            except OSError as exc:
                log.warning("supervisor_not_told", reason=exc.strerror or str(exc), what=text.partition("\n")[0])


def from_environ(environ: Mapping[str, str], pid: int) -> Supervisor:
    """Return the supervisor that the environment speaks of.

    Args:
        pid: This process's; a watchdog that is meant for another one is left alone.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return Supervisor()
    period = environ.get("WATCHDOG_USEC", "")
    is_ours = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
    return Supervisor(address, int(period) / 1e6 if period.isdecimal() and is_ours else 0.0)
