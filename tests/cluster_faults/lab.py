"""A cluster of real servers, each on a host of its own, and everything that can be done to it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import httpx2
from click.testing import CliRunner
from tests.acceptance.node import Node
from tests.acceptance.set_clock import SetClock, require_compiler
from tests.cluster_faults.evidence import Book, Evidence, Fault, book_of
from tests.cluster_faults.keeping import keep
from tests.cluster_faults.load import GROUPS, jobs
from tests.cluster_faults.verdict import violations
from tests.cluster_faults.wires import Cable, Host, cut, require_namespaces
from tests.etcds import binary
from tests.torture.witness import Arrival, Witness, seconds

from chronos.cli.server import main

PATIENCE_S = 60.0
START_S = 90.0
STARTS = 3
LOOK_S = 0.1
CALL_S = 8.0
STEADY_S = 4
TRIES = 5
BEFORE = 0.8
"""A run that had less of its load than this before anything went wrong shows nothing."""
SETTLE_S = 2
DRAIN_S = 60.0
API = "127.0.0.1:8080"
PAGE = 200


class Member(Node):
    """A server on a host."""

    def __init__(self, host: Host, folder: Path, disk: Path, env: dict[str, str], workers: int) -> None:
        super().__init__(
            disk / "data",
            "--config",
            str(folder / "chronos.yaml"),
            env={"CHRONOS_ETCD": binary(), **env},
            within=host.inside,
            http_address=API,
            workers=str(workers),
        )
        self.start_s = START_S
        self.host = host
        self.disk = disk
        self.frozen: list[int] = []

    async def start(self) -> None:
        """Start it as a service manager does: again, when it ends because the others are not there in time."""
        for left in reversed(range(STARTS)):
            try:
                await super().start()
                return
            except AssertionError:
                if not left or "cannot_start" not in self.output:
                    raise

    @property
    def name(self) -> str:
        return self.host.name

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """Make one request from the server's own host, which no cut of the cable keeps away."""

        def call() -> httpx2.Response:
            with httpx2.Client(trust_env=False, timeout=CALL_S) as client:
                return client.request(
                    method, f"http://{API}{path}", json=body, headers={"Content-Type": "application/json", **headers}
                )

        return await self.host.call(call)

    async def told(self, path: str) -> Any:
        """Return what it says, or None when it says nothing or only that it cannot."""
        if not self.is_running or self.frozen:
            return None
        try:
            answer = await self.call("GET", path)
        except httpx2.HTTPError:
            return None
        return answer.json() if answer.status_code == 200 else None

    @property
    def engine(self) -> int:
        """The process of its engine."""
        return int(self.host.seen(self.disk / "data" / "engine" / "pid").read_text().split()[0])

    def processes(self) -> list[int]:
        """Return its processes: the server first, then all that it has begun."""
        found = [self.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def freeze(self, pids: Iterable[int] | None = None) -> None:
        """Stop it in its tracks, with all that it has begun; or only some of its processes."""
        self.frozen = list(self.processes() if pids is None else pids)
        for pid in self.frozen:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for pid in self.frozen:
            os.kill(pid, signal.SIGCONT)
        self.frozen = []


class Laboratory:
    """Three servers, a target, the cable between them, and a book of what was done to them and when."""

    def __init__(
        self, folder: Path, seed: int = 1, *, disk_mb: int = 0, clocks: bool = False, workers: int = 0
    ) -> None:
        self.folder = folder
        self._seed = seed
        self._disk_mb = disk_mb
        self._workers = workers
        self._clocks = clocks
        self.clocks: dict[str, SetClock] = {}
        self.members: dict[str, Member] = {}
        self.history: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.window = (0, 0)
        self.books: dict[str, Book] = {}
        self.since: dict[str, int] = {}
        self.witness: Witness | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            hosts = [Host(name, number) for number, name in enumerate(("n1", "n2", "n3", "target"), 1)]
            for host in hosts:
                self._stack.callback(host.end)
                host.begin()
            self.cable = await self._stack.enter_async_context(Cable(hosts, self._seed))
            self._found(hosts[:3])
            witness = Witness(self.folder / "target.log", within=hosts[3].inside, host=hosts[3].address)
            self.witness = await self._stack.enter_async_context(witness)
            for member in self.members.values():
                self._stack.push_async_callback(_ended, member)
            await asyncio.gather(*(member.start() for member in self.members.values()))
            self.note("started")
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def _found(self, hosts: list[Host]) -> None:
        words = [word for host in hosts for word in ("--node", f"{host.name}={host.address}")]
        done = CliRunner().invoke(main, ["cluster", "init", "--name", "lab", *words, "--out", str(self.folder)])
        assert done.exit_code == 0, done.output
        for host in hosts:
            disk = self.folder / host.name / "disk"
            disk.mkdir()
            if self._disk_mb:
                host.run("mount", "-t", "tmpfs", "-o", f"size={self._disk_mb}m", "tmpfs", str(disk))
            if self._clocks:
                self.clocks[host.name] = SetClock(self.folder / host.name)
            env = self.clocks[host.name].env if self._clocks else {}
            self.members[host.name] = Member(host, self.folder / host.name, disk, env, self._workers)

    @property
    def target(self) -> str:
        """Where the target listens."""
        assert self.witness is not None
        return f"{self.witness.host}:{self.witness.port}"

    def note(self, event: str, **facts: Any) -> None:
        """Write down what happened now."""
        self.history.append({"at": time.time(), "event": event, **facts})

    async def load(self) -> None:
        """Give the cluster its jobs, and return when they have come for a while, as they should."""
        await self.leader()
        first = self.members["n1"]
        for job in jobs(self.target):
            await self.create(first, job)
        for _ in range(TRIES):
            begin = max(*self.since.values(), int(time.time()) + 1)
            self.window = (begin, begin)
            await asyncio.sleep(begin - time.time() + STEADY_S)
            came = {(each.job, each.due) for each in self.watched().arrivals if _is_from(each, begin)}
            self.note("loaded", window_from=begin, came=len(came))
            if len(came) >= BEFORE * GROUPS[0].jobs * STEADY_S:
                return
        raise AssertionError(f"inconclusive: only {len(came)} came before anything broke")

    async def create(self, member: Member, job: dict[str, Any]) -> None:
        """Create a job with one member; whatever is not a final answer is asked again under the same key."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    answer = await member.call("POST", "/api/v1/jobs", job, **{"Idempotency-Key": job["name"]})
                except httpx2.HTTPError:
                    continue
                if answer.status_code != 503:
                    assert answer.status_code == 201, answer.text
                    self.since[job["name"]] = int(time.time()) + 2
                    self.note("created", job=job["name"], by=member.name)
                    return
                await asyncio.sleep(LOOK_S)

    @asynccontextmanager
    async def fault(self, what: str, *members: Member, **how: Any) -> AsyncIterator[None]:
        """Write down that something is done to members from now on until the end of the block; `how` as in `Fault`."""
        began = time.time()
        names = tuple(member.name for member in members)
        self.note("fault", what=what, nodes=names)
        try:
            yield
        finally:
            self.faults.append(Fault(what, names, began, time.time(), **how))
            self.note("healed", what=what, nodes=names)

    async def isolate(self, member: Member, *, ways: str = "both") -> None:
        """Cut a member off from the others, and from the target not: what it should not send would arrive."""
        others = [name for name in self.members if name != member.name]
        await self.cable.order(*cut(member.name, others, ways=ways))

    async def part(self, member: Member, others: Sequence[str]) -> None:
        """Cut a member off from these hosts only."""
        await self.cable.order(*cut(member.name, others))

    async def scatter(self) -> None:
        """Cut every member off from every other; the target stays in reach of all."""
        names = list(self.members)
        await self.cable.order(
            *(rule for name in names for rule in cut(name, [each for each in names if each != name]))
        )

    async def heal(self) -> None:
        """Let everything pass again."""
        await self.cable.order()

    def fill(self, member: Member) -> None:
        """Leave no space on a member's disk."""
        with member.host.seen(member.disk / "filler").open("wb", buffering=0) as filler:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while filler.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def make_space(self, member: Member) -> None:
        """Give all of it back."""
        member.host.seen(member.disk / "filler").unlink()

    @asynccontextmanager
    async def traced(self, pid: int, what: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Do something to every sync of a process, as strace(1) says: until it ends, and with that the tracer, too."""
        traced = await asyncio.create_subprocess_exec(
            *("strace", "-f", "-q", "-p", str(pid), "-o", "/dev/null"),
            *("-e", "trace=fsync,fdatasync", "-e", f"inject=fsync,fdatasync:{what}"),
        )
        try:
            await asyncio.sleep(LOOK_S)
            assert traced.returncode is None, "strace has not begun"
            yield traced
        finally:
            if traced.returncode is None:
                traced.terminate()
            await traced.wait()

    async def status(self, member: Member) -> Any:
        return await member.told("/api/v1/cluster/status?consistency=local")

    async def leader(self, *, besides: Member | None = None, within_s: float = PATIENCE_S) -> Member:
        """Return who leads, by its own word and that of nobody with a newer term; besides one, if that is given."""
        began = time.monotonic()
        while time.monotonic() - began < within_s:
            told = {name: await self.status(each) for name, each in self.members.items() if each is not besides}
            known = [each for each in told.values() if each and each["leader"]]
            if known:
                newest = max(known, key=lambda each: each["term"])
                if newest["leader"] in told and (besides is None or newest["leader"] != besides.name):
                    self.note("leads", node=newest["leader"], term=newest["term"])
                    return self.members[newest["leader"]]
            await asyncio.sleep(LOOK_S)
        raise AssertionError(f"nobody leads after {within_s} s")

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]], within_s: float = PATIENCE_S) -> float:
        """Wait until something holds, and return how long that took, in seconds."""
        began = time.monotonic()
        while not await holds():
            assert time.monotonic() - began < within_s, f"after {within_s} s not yet: {what}"
            await asyncio.sleep(LOOK_S)
        took_s = time.monotonic() - began
        self.note("reached", what=what, after_s=round(took_s, 3))
        return took_s

    async def ready(self, *members: Member, within_s: float = PATIENCE_S) -> None:
        """Return when members, or all of them, say that they are."""

        async def all_are() -> bool:
            answers = [await each.told("/ready") for each in members or self.members.values()]
            return all(answers)

        await self.until("ready", all_are, within_s)

    async def end(self) -> Evidence:
        """Let what is due come to its end, and return all there is to judge by."""
        await self.ready()
        await asyncio.sleep(SETTLE_S)
        last = int(time.time()) - 1
        self.window = (self.window[0], last)

        async def is_drained() -> bool:
            self.books = {name: await self._book(member) for name, member in self.members.items()}
            return all(book.is_drained(self.window) for book in self.books.values())

        await self.until("everything is over", is_drained, DRAIN_S)
        return self.evidence()

    def evidence(self) -> Evidence:
        """Return what there is to judge by now."""
        witness = self.watched()
        return Evidence(
            witness.arrivals, witness.repeated, witness.stalls, self.faults, self.books, self.window, self.since
        )

    def watched(self) -> Witness:
        """Return what the target has seen by now."""
        assert self.witness is not None
        self.witness.read()
        return self.witness

    async def _book(self, member: Member) -> Book:
        answer = await member.call("GET", "/api/v1/export?consistency=local")
        assert answer.status_code == 200, answer.text
        path = self.folder / f"{member.name}.ndjson"
        await asyncio.to_thread(path.write_bytes, answer.content)
        return await asyncio.to_thread(book_of, path, self.window)


def _is_from(run: Arrival, begin: int) -> bool:
    return run.job.startswith(f"{GROUPS[0].name}-") and seconds(run.due) >= begin


async def _ended(member: Member) -> None:
    if member.is_running:
        member.thaw()
        await member.kill()


@asynccontextmanager
async def laboratory(folder: Path, name: str, **how: Any) -> AsyncIterator[Laboratory]:
    """Run a cluster under its load; in the end everything is judged. What goes wrong leaves its history and a picture.

    Args:
        name: What the folder is called in which they are kept.
        how: See `Laboratory`.
    """
    require_namespaces()
    if how.get("clocks"):
        require_compiler()
    lab = Laboratory(folder, **how)
    try:
        async with lab:
            await lab.load()
            yield lab
            evidence = await lab.end()
            found = violations(evidence)
            assert not found, f"{len(found)} violations:\n" + "\n".join(found[:20])
    except BaseException as exc:
        if not isinstance(exc, asyncio.CancelledError | GeneratorExit):
            print(f"kept: {keep(lab, name, exc)}")
        raise
