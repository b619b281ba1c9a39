"""Hosts that are network namespaces of their own, and the cable between them. Linux, as root.

Nothing on the machine has a name from here: a namespace lives as long as the process that holds it, and that dies with
the test. The hosts have addresses among themselves only; no packet of theirs leaves them.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest

T = TypeVar("T")

SWITCH = Path(__file__).with_name("switch.py")
TUN = Path("/dev/net/tun")
NET = "10.77.0"
MTU = 9_000
CALLS = 4
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
CLONE_NEWNET = 0x40000000
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
NEEDED = ("ip", "nsenter", "setpriv", "unshare")
PROBE_S = 10.0
ORDER_S = 10.0


def require_namespaces() -> None:
    """Skip where hosts cannot be made; fail there if they are required."""
    missing = "; ".join(_missing())
    if missing:
        assert not os.environ.get("CHRONOS_REQUIRE_SERVICES"), f"no network namespaces: {missing}"
        pytest.skip(f"no network namespaces: {missing}")


def _missing() -> list[str]:
    if sys.platform != "linux":
        return ["this is not Linux"]
    found = [f"{program} is not installed" for program in NEEDED if shutil.which(program) is None]
    if os.geteuid() != 0:
        found.append("only root may make them")
    if not os.access(TUN, os.R_OK | os.W_OK):
        found.append(f"{TUN} cannot be used")
    if not found:
        tried = subprocess.run(
            ["unshare", "--net", "--mount", "true"], capture_output=True, text=True, timeout=PROBE_S, check=False
        )
        found += [tried.stderr.strip()] if tried.returncode else []
    return found


class Host:
    """One network namespace, with file systems of its own to mount and an interface of its own on the cable."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.address = f"{NET}.{number}"
        self.tap = -1
        self._holder: subprocess.Popen[bytes] | None = None
        self._inside: ThreadPoolExecutor | None = None

    def begin(self) -> None:
        """Make it."""
        held = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", "echo made; exec sleep infinity"]
        self._holder = subprocess.Popen([*WITH_PARENT, *held], stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"made\n"
        self._inside = ThreadPoolExecutor(CALLS, f"in-{self.name}", self._enter)
        self.tap = self._inside.submit(_open_tap).result()
        self.run("ip", "link", "set", "lo", "up")
        mac = f"02:00:00:00:00:{self.number:02x}"
        self.run("ip", "link", "set", "eth0", "address", mac, "mtu", str(MTU), "up")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")

    def end(self) -> None:
        """Let it go; it is gone when nothing runs in it any more."""
        if self._inside is not None:
            self._inside.shutdown()
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()
            assert self._holder.stdout is not None
            self._holder.stdout.close()
        if self.tap >= 0:
            os.close(self.tap)

    @property
    def inside(self) -> list[str]:
        """What to put before a command, so that it runs there and ends with this process."""
        assert self._holder is not None
        proc = f"/proc/{self._holder.pid}/ns"
        return [*WITH_PARENT, "nsenter", f"--net={proc}/net", f"--mount={proc}/mnt", "--"]

    def seen(self, path: Path) -> Path:
        """Return where a file of the host is found from outside, whatever it has mounted."""
        assert self._holder is not None
        return Path(f"/proc/{self._holder.pid}/root") / path.relative_to("/")

    def run(self, *command: str) -> None:
        """Run a command there, to its end."""
        done = subprocess.run([*self.inside, *command], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"

    async def call(self, what: Callable[[], T]) -> T:
        """Return what a function returns there: the sockets that it opens are the host's."""
        assert self._inside is not None
        return await asyncio.get_running_loop().run_in_executor(self._inside, what)

    def _enter(self) -> None:
        """Let this thread be in the namespace for good."""
        assert self._holder is not None
        assert threading.current_thread() is not threading.main_thread()
        with Path(f"/proc/{self._holder.pid}/ns/net").open("rb") as net:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(net.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")


def _open_tap() -> int:
    """Return an Ethernet interface called eth0 in this thread's namespace, as a file."""
    tap = os.open(TUN, os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TAP | IFF_NO_PI))
    return tap


class Cable:
    """What connects the hosts, and cuts them off."""

    def __init__(self, hosts: Sequence[Host], seed: int) -> None:
        self._hosts = hosts
        self._seed = seed
        self._process: asyncio.subprocess.Process | None = None
        self._ordering = asyncio.Lock()

    async def __aenter__(self) -> Self:
        taps = [f"{host.name}={host.tap}" for host in self._hosts]
        self._process = await asyncio.create_subprocess_exec(
            *WITH_PARENT,
            sys.executable,
            str(SWITCH),
            str(self._seed),
            *taps,
            pass_fds=[host.tap for host in self._hosts],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await self.order()
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._process is not None
        assert self._process.returncode is None, "the cable broke"
        self._process.kill()
        await self._process.wait()

    async def order(self, *rules: dict[str, Any]) -> dict[str, int]:
        """Go by these rules from now on, which have to be in force before this returns; say what became of frames."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._ordering, asyncio.timeout(ORDER_S):
            self._process.stdin.write(json.dumps(rules).encode() + b"\n")
            counts: dict[str, int] = json.loads(await self._process.stdout.readline())
        return counts


def cut(one: str, others: Sequence[str], *, ways: str = "both") -> list[dict[str, Any]]:
    """Return the rules under which nothing passes between one host and others: `both` ways, only `in` or only `out`."""
    rules = []
    for other in others:
        if ways in ("both", "out"):
            rules.append({"from": one, "to": other, "loss": 1.0})
        if ways in ("both", "in"):
            rules.append({"from": other, "to": one, "loss": 1.0})
    return rules
