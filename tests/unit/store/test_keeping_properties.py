"""Records end, segments are sealed, retention takes the old, the log is cut, the server starts anew, in any order."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from tests.dose import dose
from tests.unit.store.exports import Export, collected
from tests.unit.store.keepers import DAY_S, START_S, HandClock, Kept, kept, run, skipped

from chronos.cluster.memory import MemoryLog, SharedLog
from chronos.model.execution import Execution
from chronos.store import proof
from chronos.store.commands import KeepingRule
from chronos.store.exporting import Exporter, Wanted
from chronos.store.records import Record, row_of
from chronos.store.retention import RetentionSettings
from chronos.store.truncation import Truncation, TruncationSettings
from chronos.testing import virtual_time
from chronos.timing.duration import DAY_US

STEPS = 80
DEFAULT_DAYS = 3
KEEP = 4
RULES = RetentionSettings(default_us=DEFAULT_DAYS * DAY_US, namespaces={"team": KeepingRule("1d")})
# Job → its namespace, how long it is kept at least, and how many.
JOBS = {
    "plain": ("default", DEFAULT_DAYS, None),
    "long": ("default", 7, None),
    "short": ("default", 1, None),
    "few": ("default", DEFAULT_DAYS, KEEP),
    "theirs": ("team", 1, None),
}


class Model:
    """What was ever recorded, in the order of it, and when."""

    def __init__(self) -> None:
        self.recorded: dict[tuple[str, int], tuple[Record, int, int]] = {}

    def add(self, record: Record, time_us: int) -> None:
        row = row_of(record)
        self.recorded[row.id, row.series] = (record, time_us, len(self.recorded))

    def owed(self, now_us: int) -> set[tuple[str, int]]:
        """Return what must still be there: young enough, and among those that are to be kept by number."""
        young = {
            place
            for place, (record, time_us, _) in self.recorded.items()
            if time_us + JOBS[record.job_id][1] * DAY_US >= now_us
        }
        return {place for place in young if not self._is_counted(self.recorded[place][0])}

    def _is_counted(self, record: Record) -> bool:
        return record.job_id == "few" and isinstance(record, Execution)

    def check(self, found: dict[tuple[str, int], Record], now_us: int) -> None:
        assert all(self.recorded[place][0] == record for place, record in found.items()), "changed, or never recorded"
        assert self.owed(now_us) <= found.keys(), "younger than its retention, and lost"
        young = sum(
            self._is_counted(record) and time_us + DEFAULT_DAYS * DAY_US >= now_us
            for record, time_us, _ in self.recorded.values()
        )
        held = Counter(record.job_id for record in found.values() if isinstance(record, Execution))
        assert held["few"] >= min(KEEP, young), "fewer than were to be kept"


class Life:
    """One life after the other of a store in a folder."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.clock, self.shared, self.model = HandClock(), SharedLog(), Model()
        self.done: Counter[str] = Counter()

    async def step(self, store: Kept) -> bool:
        """Do something; return whether the server is to start again."""
        what = self.chance.choice(["end", "end", "end", "wait", "wait", "seal", "age", "count", "cut", "restart"])
        if what == "end":
            await self._end(store)
        elif what == "wait":
            self.clock.now += self.chance.choice([60, DAY_S // 2, DAY_S])
            await store.put("any")
        elif what == "seal":
            self.done[what] += await store.sealing.turn()
        elif what == "age":
            self.done[what] += await store.retention.turn()
        elif what == "count":
            self.done[what] += await store.retention.thin_out()
        elif what == "cut":
            settings = TruncationSettings(reserve_entries=3, reserve_bytes=0)
            turn = Truncation(store.log, store.state, store.commands._epoch, settings).turn()
            self.done[what] += await turn > 1
        return what == "restart"

    async def _end(self, store: Kept) -> None:
        records: list[Record] = []
        for job_id, (namespace, *_) in JOBS.items():
            for _ in range(self.chance.randrange(4)):
                instant = int(self.clock.now) - self.chance.randrange(7_200)
                records.append(run(job_id, instant, namespace=namespace))
            if self.chance.random() < 0.2:
                first = int(self.clock.now) - self.chance.randrange(7_200)
                records.append(skipped(job_id, first, first + 60, 2, namespace=namespace))
        fresh = [one for one in records if (row_of(one).id, row_of(one).series) not in self.model.recorded]
        await store.end(*fresh)
        for record in fresh:
            self.model.add(record, store.state.time_us)


@pytest.mark.parametrize("seed", dose(range(6), 2))
@virtual_time
async def test_whatever_happens_in_whatever_order_nothing_is_lost_before_its_time_and_all_of_it_verifies(
    seed: int,
) -> None:
    life = Life(seed)
    left = STEPS
    with tempfile.TemporaryDirectory() as name:
        while left:
            async with kept(
                Path(name), log=MemoryLog(life.shared), clock=life.clock, rows=40, retention=RULES
            ) as store:
                for job_id, (namespace, days, count) in JOBS.items():
                    wanted = f"{days}d" if job_id in ("long", "short") else None
                    await store.put(job_id, namespace=namespace, retention=wanted, max_count=count)
                again = False
                while left and not again:
                    left -= 1
                    again = await life.step(store)
                    life.model.check(await store.archived(), store.state.time_us)
                exporter = Exporter(store.state, bytes(16), version="0", node="n1")
                export = Export(await collected(exporter.begin(Wanted())))
                export.verify()
                assert export.records() == {proof.record_line(record) for record in (await store.records()).values()}
    assert min(life.done[what] for what in ("seal", "age", "count", "cut")) > 0, life.done
    assert life.clock.now > START_S
