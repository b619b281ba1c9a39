"""Three nodes on this machine, a load, kill -9 of whoever leads, and what the target sees of it.

    python -m bench.showcase [--rate N] [--seconds S] [--stay] [--plain] [--folder DIR]

`make cluster` runs it. Real servers with their engines on loopback, and a target of its own, which is the judge:
nothing that the servers say about themselves decides. Ends by itself; the exit code is 0 only if nothing was lost
and nothing was recorded twice, 1 otherwise, and 2 when there is no etcd.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from bench.loopback import LoopbackCluster, LoopbackNode
from bench.picture import Picture, Screen
from bench.sink import Connection, Sink, witnessed
from bench.throughput import jobs_of
from bench.trio import SECOND_US, Fired, engine, fired, missing, records, sent_twice

from chronos.errors import Unavailable
from chronos.timing.clock import utc

OK, LOST, USAGE = 0, 1, 2
LEAST_S, MOST_S = 24.0, 300.0
SETTLE_S = 3.0
"""What was held by a node that died is sent by another after about two seconds."""
BEFORE_KILL, BEFORE_RETURN = 0.25, 0.6
"""When the leader is killed and when it is started again, as shares of the time."""
LOOK_S = 0.25


@dataclass
class Show:
    """What goes on, as far as is known.

    Attributes:
        seen: What has arrived, in order.
        killed: Who was killed, when, and in which term it led.
        said: What happened last, for people.
    """

    cluster: LoopbackCluster
    sink: Sink
    rate: int
    began: float
    seen: list[Fired] = field(default_factory=list)
    killed: tuple[str, float, int] | None = None
    said: str = ""

    def take_in(self) -> None:
        """Read what has arrived since the last time."""
        new = self.sink.seen[len(self.seen) :]
        self.seen += fired(map(witnessed, new), SECOND_US)

    @property
    def gap_s(self) -> float | None:
        """From the kill to the first arrival that a later term has granted; None before that."""
        if self.killed is None:
            return None
        _, at, term = self.killed
        return next((one.at - at for one in self.seen if one.at > at and one.term > term), None)

    async def look(self) -> Picture:
        """Return how things stand now."""
        self.take_in()
        now = time.time()
        last = [one for one in self.seen[-4 * self.rate :] if one.at > now - 1]
        nodes = {node.name: "dead" for node in self.cluster.nodes}
        leader, term = "", 0
        for node in self.cluster.running:
            status = await self.cluster.status(node)
            nodes[node.name] = status["state"] if status is not None else "starting"
            if status is not None and status["is_leader"] and status["term"] > term:
                leader, term = node.name, status["term"]
        late = sorted(one.late_s * 1_000 for one in last)
        return Picture(
            seconds=now - self.began,
            leader=leader,
            term=term or (self.seen[-1].term if self.seen else 0),
            arrived=len(self.seen),
            a_second=len(last),
            late_ms=late[len(late) // 2] if late else 0.0,
            latest_ms=late[-1] if late else 0.0,
            nodes=nodes,
            gap_s=self.gap_s,
            said=self.said,
        )


async def run(chosen: argparse.Namespace, folder: Path, program: Path) -> int:
    """Show it, and return the exit code."""
    with _screen(chosen) as screen:
        screen.say("Founding a cluster of three nodes and starting it: a CA, certificates, engines. Some seconds.")
        async with _target() as (sink, url):
            cluster = LoopbackCluster(folder, program, arguments=("--log-level", "warn"))
            async with cluster:
                await cluster.whole()
                screen.say(f"Ready: {', '.join(f'{node.name} {node.url}' for node in cluster.nodes)}")
                screen.say(f"Their folders are in {folder}; the target is {url}")
                show = await _load(cluster, sink, url, chosen.rate)
                await _play(show, chosen.seconds, screen)
                until = time.time()
                await _watch(show, screen, until + SETTLE_S)
                if chosen.stay:
                    await _stay(show, screen)
                    until = time.time()
                    await asyncio.sleep(SETTLE_S)
            show.take_in()
    verdict = judged(show, until)
    print("\n".join(verdict.lines))
    return OK if verdict.is_good else LOST


async def _load(cluster: LoopbackCluster, sink: Sink, url: str, rate: int) -> Show:
    jobs = [msgspec.json.encode(job) for job in jobs_of("spread", rate, rate, url, utc(time.time()))]
    await cluster.create(jobs)
    return Show(cluster, sink, rate, time.time(), said=f"{rate} jobs, each every second, at a moment of its own")


async def _play(show: Show, seconds: float, screen: Screen) -> None:
    """Watch, kill whoever leads, watch, start it again, watch."""
    await _watch(show, screen, show.began + BEFORE_KILL * seconds)
    leader = await _kill(show)
    await _watch(show, screen, show.began + BEFORE_RETURN * seconds)
    show.said = f"{leader.name} is started again, as a service manager would"
    returning = asyncio.create_task(leader.start())
    try:
        await _watch(show, screen, show.began + seconds, returning)
        await returning
        await show.cluster.whole()
    finally:
        returning.cancel()
    show.said = f"{leader.name} is back and follows; now everything is counted"


async def _kill(show: Show) -> LoopbackNode:
    leader, term = await show.cluster.leader()
    pids = ", ".join(f"{role} {pid}" for role, pid in leader.processes().items())
    show.killed = (leader.name, time.time(), term)
    show.said = f"kill -9 of {leader.name}, which led: {pids}"
    await leader.kill()
    return leader


async def _watch(show: Show, screen: Screen, until: float, returning: asyncio.Task[None] | None = None) -> None:
    while time.time() < until:
        screen.show(await show.look())
        if returning is not None and returning.done():
            returning.result()
        await asyncio.sleep(LOOK_S)


async def _stay(show: Show, screen: Screen) -> None:
    """Go on until ^C."""
    show.said = f"It stays until ^C. Elsewhere: chronosctl --server {show.cluster.running[0].url} cluster status"
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, ended.set)
    while not ended.is_set():
        screen.show(await show.look())
        try:
            async with asyncio.timeout(1.0):
                await ended.wait()
        except TimeoutError:
            continue


@dataclass(frozen=True)
class Verdict:
    """What came of it."""

    is_good: bool
    lines: list[str]


def judged(show: Show, until: float) -> Verdict:
    """Return what the target and the nodes' histories say; the nodes have stopped.

    Args:
        until: What was due later may still have been open when they did.
    """
    first: dict[str, Fired] = {}
    for one in show.seen:
        first.setdefault(one.execution, one)
    due = [one for one in first.values() if one.due < until - 1]
    kept, lost, gap_s = records(show.cluster), missing(show.seen, until - 1), show.gap_s
    everybody = set.union(*kept.ended.values())
    unrecorded = sum(one.execution not in everybody for one in due)
    twice = sent_twice(show.seen)
    latest_s = max((one.late_s for one in due), default=0.0)
    facts = {
        "arrived": f"{len(due)}, the latest {latest_s:.2f} s after it was due",
        "lost": str(lost),
        "not recorded": str(unrecorded),
        "recorded twice": str(len(kept.twice)),
        "sent twice": f"{len(twice)}, with the same id: what was under way at the kill",
        "gap": "no arrival since the kill"
        if gap_s is None
        else f"{gap_s:.2f} s from kill -9 to the next leader's work",
    }
    is_good = not (lost or unrecorded or kept.twice) and gap_s is not None and bool(due)
    summary = "Nothing was lost." if is_good else "Something was lost: this should not be, and is worth a report."
    return Verdict(is_good, [*(f"  {name:15} {text}" for name, text in facts.items()), summary])


@asynccontextmanager
async def _target() -> AsyncIterator[tuple[Sink, str]]:
    """Listen for what the nodes send, in this process."""
    sink = Sink(0.0)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(sink), "127.0.0.1", 0)
    try:
        yield sink, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


@contextmanager
def _screen(chosen: argparse.Namespace) -> Iterator[Screen]:
    with Screen(live=sys.stdout.isatty() and not chosen.plain) as screen:
        yield screen


def main(arguments: list[str] | None = None) -> int:
    """Run as told, and return the exit code."""
    line = argparse.ArgumentParser(
        prog="make cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    line.add_argument("--rate", type=int, default=50, help="executions a second; default: %(default)s")
    line.add_argument("--seconds", type=float, default=40.0, help="of load, before it is counted; default: %(default)g")
    line.add_argument("--stay", action="store_true", help="go on until ^C afterwards")
    line.add_argument("--plain", action="store_true", help="a line a second, also on a terminal")
    line.add_argument(
        "--folder", type=Path, help="where the nodes' folders are made, and stay; default: a temporary one"
    )
    chosen = line.parse_args(arguments)
    if not 1 <= chosen.rate <= 2_000 or not LEAST_S <= chosen.seconds <= MOST_S:
        line.error(f"--rate is 1 to 2000, --seconds {LEAST_S:g} to {MOST_S:g}")
    try:
        program = engine()
        with _folder(chosen.folder) as folder:
            return asyncio.run(run(chosen, folder, program))
    except RuntimeError as error:
        print(f"make cluster: {error}", file=sys.stderr)
        return USAGE
    except Unavailable as error:
        print(f"make cluster: {error}", file=sys.stderr)
        return LOST
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        yield wanted.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="chronos-cluster-") as name:
        yield Path(name)


if __name__ == "__main__":
    sys.exit(main())
