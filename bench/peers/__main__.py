"""Measure the same work on other schedulers: webhooks due at known instants, judged by the same sink.

    python -m bench.peers [--json] [--only PEER] [--shape spread|burst|every-second] [--jobs N] [--seconds S]

Each peer gets an environment of its own in a temporary folder, from the package registry that is set up here; nothing
of it stays. One whose server or runtime is missing is reported as `not run`, with the reason. Not run by CI.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from bench.peers.servers import postgres
from bench.report import lateness, machine, parser
from bench.rig import SinkProcess, children, process_of
from bench.sink import Arrival

DRIVERS = Path(__file__).with_name("drivers")
INSTALL_S = 300.0
READY_S = 120.0
CREATED_A_SECOND = 100
GRACE_S = 10.0


@dataclass(frozen=True)
class Peer:
    """Another scheduler.

    Attributes:
        packages: What its environment needs.
        driver: The script in `drivers/` that does the work there.
        store: What the driver is told of where it keeps its jobs; `{folder}` is the run's own.
        needs: Programs that have to be there.
        survives: What a `kill -9` of its processes leaves.
        missing: Why it cannot be measured yet; empty when it can.
    """

    packages: tuple[str, ...] = ()
    driver: str = ""
    store: str = "memory"
    needs: tuple[str, ...] = ()
    survives: str = ""
    missing: str = ""


PEERS: dict[str, Peer] = {
    "apscheduler-3-memory": Peer(("apscheduler>=3.11,<4",), "apscheduler3.py", survives="nothing"),
    "apscheduler-3-sqlite": Peer(
        ("apscheduler>=3.11,<4", "sqlalchemy>=2"),
        "apscheduler3.py",
        "sqlite:///{folder}/jobs.sqlite",
        survives="jobs and their next run; neither outcomes nor what was running",
    ),
    "apscheduler-4-memory": Peer(("apscheduler==4.0.0a6",), "apscheduler4.py", survives="nothing"),
    "procrastinate-postgres": Peer(
        ("procrastinate>=3", "psycopg[binary]>=3.2"),
        "procrastinate_worker.py",
        "postgres",
        ("initdb", "pg_ctl"),
        "jobs and outcomes, committed; what was running stays `doing` until somebody retries it",
    ),
    "celery-redis": Peer(needs=("redis-server",), missing="no driver for it is written yet"),
    "bullmq-redis": Peer(needs=("redis-server", "node", "npm"), missing="no driver for it is written yet"),
    "dkron": Peer(needs=("go",), missing="no driver for it is written yet"),
}


def main() -> int:
    """Measure one peer after the other; return 0 when each was measured or could not be."""
    line = parser(__doc__)
    line.add_argument("--only", choices=sorted(PEERS), action="append", help="repeatable")
    line.add_argument("--shape", choices=("spread", "burst", "every-second"), default="spread")
    line.add_argument("--jobs", type=int, default=500)
    line.add_argument("--seconds", type=int, default=10)
    chosen = line.parse_args()
    for name in chosen.only or PEERS:
        asked = {"shape": chosen.shape, "jobs": chosen.jobs, "seconds": chosen.seconds}
        row = {"peer": name, **asked, "survives": PEERS[name].survives, **row_of(PEERS[name], asked), **_where()}
        print(msgspec.json.encode(row).decode() if chosen.json else _line(row), flush=True)
    return 0


def row_of(peer: Peer, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what was measured, or why nothing was."""
    lacking = [program for program in peer.needs if shutil.which(program) is None]
    if lacking or peer.missing:
        return {"not_run": f"{', '.join(lacking)} not installed here" if lacking else peer.missing}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        try:
            python = _environment(Path(folder), peer.packages)
            store, helpers = peer.store.format(folder=folder), list[int]()
            if peer.store == "postgres":
                store, pid = stack.enter_context(postgres(Path(folder)))
                helpers.append(pid)
            return asyncio.run(_measured(python, peer, asked, store, helpers, Path(folder)))
        except (RuntimeError, subprocess.SubprocessError, TimeoutError) as error:
            return {"not_run": f"it did not work here: {error}"}


def _environment(folder: Path, packages: tuple[str, ...]) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=INSTALL_S)
    python = folder / "venv/bin/python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    subprocess.run(install, check=True, timeout=INSTALL_S)
    return python


async def _measured(
    python: Path, peer: Peer, asked: dict[str, Any], store: str, helpers: list[int], folder: Path
) -> dict[str, Any]:
    sink = SinkProcess(folder / "arrivals")
    await sink.start()
    begin = int(time.time()) + 6 + asked["jobs"] // CREATED_A_SECOND
    told = {**asked, "port": int(sink.url.rsplit(":", 1)[1].strip("/")), "begin": begin}
    command = [str(python), str(DRIVERS / peer.driver), msgspec.json.encode(told).decode(), store]
    with _running(command, folder) as driver:
        assert driver.stdout is not None
        async with asyncio.timeout(READY_S):
            line = await asyncio.to_thread(driver.stdout.readline)
        if line.strip() != b"ready":
            raise RuntimeError((folder / "errors").read_text().strip().rpartition("\n")[2] or "it ended at once")
        late_start = time.time() > begin
        pids = [driver.pid, *helpers]
        before = _cpu(pids)
        end = max(begin, time.time()) + (0 if asked["shape"] == "burst" else asked["seconds"])
        await asyncio.sleep(max(0.0, end + GRACE_S - time.time()))
        used = {name: round(after - before.get(name, 0.0), 2) for name, after in _cpu(pids).items()}
    arrivals = await sink.stop()
    if late_start:
        return {"not_run": "creating the jobs took longer than there was until they were due"}
    return _told(arrivals, asked, begin, used)


def _told(arrivals: list[Arrival], asked: dict[str, Any], begin: float, used: dict[str, float]) -> dict[str, Any]:
    """Return the figures. Of recurring jobs only instants inside the window count."""
    recurs = asked["shape"] == "every-second"
    seen = [one for one in arrivals if not recurs or begin <= one[3] < begin + asked["seconds"]]
    took = max((one[0] for one in seen), default=begin) - begin
    return {
        "expected": asked["jobs"] * (asked["seconds"] if recurs else 1),
        "arrived": len({one[1] for one in seen}),
        "arrived_twice": len(seen) - len({one[1] for one in seen}),
        "a_second": round(len(seen) / took, 1) if took > 0 else 0.0,
        "lateness_ms": lateness([(at - due) * 1_000 for at, _, _, due in seen]),
        "cpu_us_per_execution": round(sum(used.values()) * 1e6 / max(1, len(seen))),
        "cpu_s": used,
    }


def _cpu(pids: list[int]) -> dict[str, float]:
    """Return the seconds of CPU of the driver and of its server, each with its children."""
    names = ("driver", "server")
    return {
        name: sum(process_of(one).cpu_s for one in (pid, *children(pid)))
        for name, pid in zip(names, pids, strict=False)
    }


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors)
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)


def _where() -> dict[str, Any]:
    return {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine()}


def _line(row: dict[str, Any]) -> str:
    if "not_run" in row:
        return f"{row['peer']}: not run: {row['not_run']}"
    late = row["lateness_ms"]
    return (
        f"{row['peer']}: {row['arrived']} of {row['expected']} arrived, {row['a_second']:g}/s, "
        f"p99 {late.get('p99', 0):g} ms, {row['cpu_us_per_execution']} µs of CPU each"
    )


if __name__ == "__main__":
    sys.exit(main())
