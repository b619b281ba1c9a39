"""One run of one peer: its server, its driver and the sink, and what each of its processes uses meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
from bench.peers.catalogue import Peer
from bench.peers.figures import CpuSample, Work, each_us, judged, told, used
from bench.peers.installs import NotInstalled, installed
from bench.peers.quiet import busy, fsync_ms, others_cores, used_s
from bench.peers.servers import Server, postgres, redis
from bench.rig import SinkProcess, children

LEAD_S = 8
"""What a driver takes to start, before it makes its first job."""

READY_S = 240.0
SAMPLE_S = 0.5
BACKLOG_S = 2.0
SERVERS = {"postgres": postgres, "redis": redis}


def row_of(peer: Peer, work: Work, cache: Path, grace_s: float) -> dict[str, Any]:
    """Return what was measured, or as `not_run` why nothing was."""
    load = round(os.getloadavg()[0], 2)
    try:
        command, versions = installed(peer, cache)
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            folder = Path(name)
            disk_ms = fsync_ms(folder)
            default = nullcontext(Server(peer.server.format(folder=folder), 0, {}))
            server = stack.enter_context(SERVERS[peer.server](folder) if peer.server in SERVERS else default)
            found = asyncio.run(_measured(command, peer, work, server, folder, grace_s))
    except (NotInstalled, RuntimeError, OSError, subprocess.SubprocessError, TimeoutError) as error:
        return {"not_run": str(error) or type(error).__name__, "load_1m": load}
    return {**found, "versions": {**versions, **server.version}, "load_1m": load, "fsync_ms": disk_ms}


async def _measured(
    command: list[str], peer: Peer, work: Work, server: Server, folder: Path, grace_s: float
) -> dict[str, Any]:
    sink = SinkProcess(folder / "arrivals")
    await sink.start()
    try:
        work = replace(work, begin=int(time.time()) + LEAD_S + work.jobs // peer.creates_a_second)
        asked = {**asdict(work), "dues": work.dues(), "url": sink.url, "store": server.address, "folder": str(folder)}
        (folder / "asked.json").write_bytes(msgspec.json.encode(asked))
        with _driver([*command, str(folder / "asked.json")], folder) as driver:
            await _ready(driver, folder, work)
            pids = [pid for pid in (driver.pid, server.pid) if pid]
            before = busy(pids)
            samples = await _sampled(pids, peer.processes, work.end + grace_s)
            others = others_cores(before, busy(pids))
    finally:
        arrivals = await sink.stop()
    seen = judged(arrivals, work, peer.recurring, peer.has_jitter)
    cpu_s = used(samples, seen, work)
    figures = told(seen, work, peer.recurring)
    return {**figures, "cpu_us_per_execution": each_us(cpu_s, len(seen)), "cpu_s": cpu_s, "others_cores": others}


async def _ready(driver: subprocess.Popen[bytes], folder: Path, work: Work) -> None:
    assert driver.stdout is not None
    try:
        async with asyncio.timeout(READY_S):
            line = await asyncio.to_thread(driver.stdout.readline)
    except TimeoutError:
        raise TimeoutError(f"its jobs were not made within {READY_S:g} s") from None
    if line.strip() != b"ready":
        raise RuntimeError((folder / "errors").read_text().strip().rpartition("\n")[2] or "it ended at once")
    late_s = time.time() - (work.begin - BACKLOG_S)
    if late_s > 0:
        raise RuntimeError(f"making {work.jobs} jobs took {late_s:.0f} s longer than there was until they were due")


async def _sampled(pids: list[int], names: Mapping[str, str], until: float) -> list[CpuSample]:
    samples = [(time.time(), cpu_s(pids, names))]
    while samples[-1][0] < until:
        await asyncio.sleep(SAMPLE_S)
        samples.append((time.time(), cpu_s(pids, names)))
    return samples


def cpu_s(pids: list[int], names: Mapping[str, str]) -> dict[str, float]:
    """Return the seconds of CPU so far of processes and all below them, ended ones included, by name."""
    found: dict[str, float] = {}
    for pid in {one for first in pids for one in (first, *children(first))}:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:  # it has ended; what it used is in its parent's
            continue
        name = process_name(command, names)
        found[name] = found.get(name, 0.0) + used_s(pid)
    return found


def process_name(command: bytes, names: Mapping[str, str]) -> str:
    """Return what a process is called, by the first word that its command line has; `driver` where it has none."""
    line = command.replace(b"\0", b" ").decode(errors="replace")
    return next((name for word, name in names.items() if word in line), "driver")


@contextmanager
def _driver(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a driver in a group of its own; at the end everything that it has started is killed."""
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError, PermissionError):  # macOS does not let a dead one be killed
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
