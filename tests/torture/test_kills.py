"""kill -9 under 200 executions a second, at random and wherever it hurts, judged by those who survive.

Every other shard delivers from a worker process, and half of its kills are that one's: then the server lives on.

`make test` runs a few kills of one shard; `make proof` (CHRONOS_PROOF=1), which CI runs too, all of all.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from tests.acceptance.node import Node
from tests.dose import PROOF
from tests.torture.load import jobs
from tests.torture.verdict import Evidence, duplicates, survivors, violations
from tests.torture.witness import Witness, copy_disk, left_behind, lost_with, recorded, worker_of

from chronos.failpoints import NAMES, VARIABLE
from chronos.model.execution import TERMINAL, Execution, RangeRecord

SHARDS = 4
CYCLES = int(os.environ.get("CHRONOS_TORTURE_CYCLES", "10" if PROOF else "4"))
SEED = os.environ.get("CHRONOS_TORTURE_SEED")
SEEDS = [int(SEED)] if SEED else list(range(SHARDS if PROOF else 1))

RATE = 150
"""A kill counts when this many requests came in the second before whoever was to die died."""

TRIES = 8
"""So often is each kill tried until it counts: where it hurts is not always where the load is."""

PUNCTUAL_S = 2.0
"""The next kill waits until what was missed is made up for: requests come within this of their instant."""

LOOK_S = 0.05
LOADED_S = 30.0
MET_S = 30.0
DYING_S = 1.0
SETTLED_S = 4.0
REFUSALS_MAX = 200
LAST_TURNS = 15  # most often one; a machine that is busy with other things takes its time
TOLD = 100
SERVER = Path(__file__).with_name("server.py")


class Kill(NamedTuple):
    """How a server is to die: at a named place, the so manieth time it comes there; or just so."""

    place: str = ""
    times: int = 1
    worker: bool = False


def plan(seed: int) -> Iterator[Kill]:
    """Yield kills without end. Every place is in the plan of some shard, and half of all kills are anywhere."""
    chance = random.Random(seed)
    places = [place for number, place in enumerate(NAMES) if number % SHARDS == seed % SHARDS]
    for number in count():
        if number % 2:
            yield Kill(worker=has_worker(seed) and number % 4 == 1)
        else:
            place = places[number // 2 % len(places)]
            yield Kill(place, 1 if place in RARE else chance.randint(1, 40))


def has_worker(seed: int) -> bool:
    """Whether a shard's servers deliver from a worker process."""
    return seed % 2 == 0


RARE = {
    "drain.before",
    "history.rotate-midway",
    "log.checkpoint-midway",
    "log.truncate-midway",
    "state.checkpoint-midway",
    "truncation.before",
}


class Torture:
    """One data folder, and the servers that die on it."""

    def __init__(self, folder: Path, seed: int, witness: Witness) -> None:
        self._seed = seed
        self._chance = random.Random(seed)
        self._folder = folder
        self._witness = witness
        self._places = folder / "failpoints"
        self._places.mkdir(mode=0o700)
        env = {VARIABLE: str(self._places), "CHRONOS_DISPATCHER__CIRCUIT_BREAKER__FAILURE_THRESHOLD": "1000000"}
        self.node = Node(
            folder / "data", "--log-level", "error", env=env, program=[str(SERVER)], workers=str(int(has_worker(seed)))
        )
        self.worker_deaths: list[float] = []
        self.deaths: list[tuple[Path, float, str]] = []
        self.counted: list[Kill] = []
        self.missed: list[str] = []
        self.begun = 0

    async def begin(self) -> None:
        """Start the first server and give it its jobs."""
        await self._start()
        async with httpx2.AsyncClient(trust_env=False, timeout=30, base_url=self.node.url) as client:
            for job in jobs(self._witness.port):
                created = await client.post("/api/v1/jobs", json=job)
                assert created.status_code == 201, created.text
        self.begun = int(time.time()) + 2

    async def until_it_counts(self, kill: Kill) -> None:
        """Kill so until it counts, up to `TRIES` times."""
        for _ in range(TRIES):
            if await self.cycle(kill):
                break

    async def cycle(self, kill: Kill) -> bool:
        """Wait for the load, kill, look at what is left, start again; return whether the kill counts."""
        await self._load()
        if kill.worker:
            return self._kill_worker(kill)
        died_at = await self._kill(kill)
        is_counted = self._note(kill, died_at)
        if self.node.is_running:
            return is_counted  # it was the worker that came there
        copy = self._folder / f"left-{len(self.deaths)}"
        at = time.time()
        copy_disk(self._folder / "data", copy)  # looked at in the end, so that nobody waits for it now
        self.deaths.append((copy, at, kill.place or "anywhere"))
        for path in self._places.iterdir():
            path.unlink()
        await self._start()
        return is_counted

    async def _start(self) -> None:
        await self.node.start()
        self._witness.server_is_at(self.node.url)

    def _note(self, kill: Kill, died_at: float | None) -> bool:
        """Write down whether a kill counts, or why not; it died at that moment, or never came where it was to."""
        rate = 0 if died_at is None else self._witness.rate(died_at)
        if rate >= RATE:
            self.counted.append(kill)
            return True
        self.missed.append(f"{kill}: " + ("never came there" if died_at is None else f"{rate} requests before"))
        return False

    def _kill_worker(self, kill: Kill) -> bool:
        """End the worker; the server goes on, and starts another one."""
        at = time.time()
        os.kill(worker_of(self.node.pid), signal.SIGKILL)
        self.worker_deaths.append(at)
        return self._note(kill, at)

    async def _load(self) -> None:
        """Wait for the load, and then for any moment that has it, too: on a busy machine it comes in gusts."""
        await self._loaded()
        await asyncio.sleep(self._chance.random())
        await self._loaded()

    async def _loaded(self) -> None:
        for _ in range(int(LOADED_S / LOOK_S)):
            if self._witness.rate(time.time(), PUNCTUAL_S) >= RATE:
                break
            await asyncio.sleep(LOOK_S)

    async def _kill(self, kill: Kill) -> float | None:
        """End the server, or its worker; return when it died where it was to, or None when it did not come there."""
        if not kill.place:
            at = time.time()
            await self.node.kill()
            return at
        (self._places / kill.place).write_text(str(kill.times))
        if kill.place == "drain.before":
            self.node.ask_to_stop()
        met = self._places / f"{kill.place}.met"
        if await self._has_ended(met):
            return _taken_away(met) if _is_there(met) else None
        if _is_there(met):
            died_at = _taken_away(met)
            self.worker_deaths.append(died_at)
            return died_at
        await self.node.kill()
        return None

    async def _has_ended(self, met: Path) -> bool:
        """Wait until the server is dead, or its worker is: that came to the place. Returns whether the server is."""
        for _ in range(int(MET_S / LOOK_S)):
            if not self.node.is_running:
                break
            if has_worker(self._seed) and _is_there(met):
                await asyncio.sleep(DYING_S)  # whoever came there dies a moment later
                break
            await asyncio.sleep(LOOK_S)
        if not self.node.is_running:
            await self.node.ended()
        return not self.node.is_running

    async def end(self) -> Evidence:
        """Let what is due come to its end, and collect the evidence."""
        await self._load()
        last = int(time.time())
        told: list[dict[str, Any]] = []
        for turn in range(LAST_TURNS):
            await asyncio.sleep(SETTLED_S)
            if not turn:
                self._witness.read()
                known = sorted({arrival.id for arrival in self._witness.arrivals})
                told = await self._told(self._chance.sample(known, min(TOLD, len(known))))
            assert await self.node.stop() == 0, self.node.output
            copy = self._folder / f"last-{turn}"
            copy_disk(self._folder / "data", copy)
            records, running = await recorded(copy)
            if not any(execution.scheduled_s <= last for execution in running):
                break
            await self._start()
        self._witness.read()
        lives = [await left_behind(*death) for death in self.deaths]
        ended = [record for record in records if isinstance(record, Execution)]
        ranges = [record for record in records if isinstance(record, RangeRecord)]
        known_to_disk = [each for each in ended if each.status in TERMINAL] + running
        lost = lost_with(self.worker_deaths, known_to_disk)
        return Evidence(self._witness, lives, known_to_disk, ranges, told, (self.begun, last), lost)

    async def _told(self, ids: list[str]) -> list[dict[str, Any]]:
        async with httpx2.AsyncClient(trust_env=False, timeout=30, base_url=self.node.url) as client:
            return [(await _answered(client, f"/api/v1/executions/{each}")).json() for each in ids]


async def _answered(client: httpx2.AsyncClient, path: str) -> httpx2.Response:
    """Ask until there is room: under load a server turns connections away."""
    for _ in range(REFUSALS_MAX):
        if (answer := await client.get(path)).status_code != 503:
            break
        await asyncio.sleep(LOOK_S)
    return answer


def _is_there(path: Path) -> bool:
    return path.exists()


def _taken_away(path: Path) -> float:
    """Remove a file, and return since when it had its name."""
    since = path.stat().st_ctime
    path.unlink()
    return since


@pytest.mark.timeout(200 + 60 * CYCLES)
@pytest.mark.asyncio
@pytest.mark.parametrize("seed", SEEDS)
async def test_kills_under_load_lose_nothing_and_repeat_only_what_was_in_flight(tmp_path: Path, seed: int) -> None:
    async with Witness(tmp_path / "target.log") as witness:
        torture = Torture(tmp_path, seed, witness)
        try:
            await torture.begin()
            for kill in islice(plan(seed), CYCLES):
                await torture.until_it_counts(kill)
            evidence = await torture.end()
        finally:
            if torture.node.is_running:
                await torture.node.kill()

    replay = f"CHRONOS_TORTURE_SEED={seed} CHRONOS_TORTURE_CYCLES={CYCLES} python -m pytest tests/torture"
    assert len(torture.counted) == CYCLES, f"only {torture.counted}, not {torture.missed}; {replay}"
    assert violations(evidence) == [], replay
    assert duplicates(evidence) <= len(evidence.in_flight)
    assert survivors(evidence), "no long job went on over a death"
