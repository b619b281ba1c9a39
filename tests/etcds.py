"""Real etcds for tests: one member or three, each a process of its own that tests may kill or stop."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from chronos.cluster.etcd import rpc_pb2 as pb
from chronos.cluster.etcd.client import STATUS, Client, NoAnswer

ROOT = Path(__file__).resolve().parent.parent
READY_TRIES = 400


def binary() -> str:
    """Return the etcd to test with; where there is none, skip, unless it is required."""
    for candidate in (os.environ.get("CHRONOS_ETCD"), ROOT / ".cache/engine/etcd", shutil.which("etcd")):
        if candidate and Path(candidate).is_file():
            return str(candidate)
    assert not os.environ.get("CHRONOS_REQUIRE_SERVICES"), "etcd is missing; `make engine` makes it"
    pytest.skip("etcd is missing; `make engine` makes it")


_OWN = 10_000 + os.getpid() % 200 * 100
"""Where this process's ports begin: a hundred that no other test takes, below those that outgoing connections get."""
_places = cycle(range(_OWN, _OWN + 100))


def free_ports(count: int, *, and_behind: int = 0) -> list[int]:
    """Return ports that nobody listens on, and behind each as many as are asked for that nobody does either."""
    found: list[int] = []
    for _ in range(100):
        run = [next(_places) for _ in range(1 + and_behind)]
        if run[-1] - run[0] == and_behind and all(map(is_free, run)):
            found.append(run[0])
        if len(found) == count:
            return found
    raise AssertionError(f"only {len(found)} of {count} ports from {_OWN} on are free")


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of 127.0.0.1."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Member:
    """One etcd."""

    def __init__(self, name: str, folder: Path, client: int, peer: int, extra: list[str]) -> None:
        self.name = name
        self.port = client
        self.peer_url = f"http://127.0.0.1:{peer}"
        self.endpoint = f"http://127.0.0.1:{client}"
        self.folder = folder / name
        self.extra = extra
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, initial: str, state: str = "new") -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        said = (self.folder / "said").open("ab")
        command = [binary(), f"--name={self.name}", f"--data-dir={self.folder / 'data'}"]
        command += [f"--listen-client-urls={self.endpoint}", f"--advertise-client-urls={self.endpoint}"]
        command += [f"--listen-peer-urls={self.peer_url}", f"--initial-advertise-peer-urls={self.peer_url}"]
        command += [f"--initial-cluster={initial}", f"--initial-cluster-state={state}", "--pre-vote=true"]
        command += ["--heartbeat-interval=50", "--election-timeout=500", "--logger=zap", "--log-level=warn"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        try:
            self._process = subprocess.Popen(
                command + self.extra, stdout=said, stderr=said, env=environment, cwd=self.folder, start_new_session=True
            )
        finally:
            said.close()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Etcds:
    """Members that make up one cluster of etcd."""

    def __init__(self, folder: Path, count: int, extra: list[str]) -> None:
        ports = free_ports(2 * count)
        self.members = [Member(f"m{n}", folder, ports[2 * n], ports[2 * n + 1], extra) for n in range(count)]
        self.initial = ",".join(f"{member.name}={member.peer_url}" for member in self.members)

    @property
    def endpoints(self) -> list[str]:
        return [member.endpoint for member in self.members]

    def start(self) -> None:
        for member in self.members:
            member.start(self.initial)

    def stop(self) -> None:
        for member in self.members:
            member.kill()

    async def ready(self) -> None:
        """Return when every member knows a leader."""
        client = Client(self.endpoints)
        try:
            for at in range(len(self.members)):
                for _ in range(READY_TRIES):
                    try:
                        if (await client.once(STATUS, pb.StatusRequest(), at=at)).leader:
                            break
                    except NoAnswer:
                        pass
                    await client.pause()
                else:
                    raise AssertionError(f"etcd {self.members[at].name} did not become ready")
        finally:
            await client.close()

    async def leader(self) -> int:
        """Return which member leads."""
        client = Client(self.endpoints)
        try:
            for _ in range(READY_TRIES):
                for at in range(len(self.members)):
                    try:
                        status = await client.once(STATUS, pb.StatusRequest(), at=at, call_s=0.5)
                    except NoAnswer:
                        continue
                    if status.leader == status.header.member_id:
                        return at
                await client.pause()
            raise AssertionError("no member leads")
        finally:
            await client.close()


@contextmanager
def etcds(folder: Path, count: int = 1, *extra: str) -> Iterator[Etcds]:
    """Run so many members until the test is over."""
    cluster = Etcds(folder, count, list(extra))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
