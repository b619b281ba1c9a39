"""How each job's newest run stands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import pytest
from tests.unit.executions import an_execution

from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, Status
from chronos.model.job import Job, JobSpec
from chronos.model.target import HttpTarget
from chronos.server import lastruns
from chronos.server.lastruns import LastRuns
from chronos.store.queries import Queries


def job(name: str = "a") -> Job:
    spec = JobSpec(name=name, schedules=["@daily"], target=HttpTarget(url="http://x/"))
    return Job(id=name, spec=spec, revision=1, created_at_us=0, updated_at_us=0)


def run(n: int, status: Status = Status.SUCCESS, of: str = "a") -> Execution:
    return an_execution(of, n, status, id=f"occ_{n}")


def event(execution: Execution) -> Event:
    kind = EventType.EXECUTION_FINISHED
    return Event(type=kind, index=1, seq=0, time_us=0, job_id=execution.job_id, execution=execution)


class History:
    """Finds what it was given, and counts how often it is asked."""

    def __init__(self, *found: Execution) -> None:
        self.found = list(found)
        self.asked: list[str] = []
        self.meanwhile: Any = None

    async def newest_runs(self, jobs: Sequence[Job]) -> dict[str, Execution]:
        self.asked += [job.id for job in jobs]
        if self.meanwhile is not None:
            self.meanwhile()
        asked = {job.id for job in jobs}
        fitting = [one for one in self.found if one.job_id in asked and one.status is not Status.SKIPPED]
        return {one.job_id: one for one in sorted(fitting, key=lambda one: one.scheduled_s)}


def followed(*found: Execution) -> tuple[LastRuns, History]:
    history = History(*found)
    return LastRuns(cast("Queries", history)), history


@pytest.mark.asyncio
async def test_a_job_of_which_nothing_was_ever_run_is_not_looked_up() -> None:
    history = History(run(1), run(2, of="b"))
    runs = LastRuns(cast("Queries", history), may_have_run=lambda job_id: job_id == "b")
    assert (await shown(runs), await shown(runs, "b")) == (None, ("occ_2", "success"))
    assert history.asked == ["b"]


@pytest.mark.asyncio
async def test_a_job_that_many_ask_for_at_once_is_looked_up_once_also_when_the_first_leaves() -> None:
    class Slow(History):
        gate = asyncio.Event()

        async def newest_runs(self, jobs: Sequence[Job]) -> dict[str, Execution]:
            found = await super().newest_runs(jobs)
            await self.gate.wait()
            return found

    history = Slow(run(1))
    runs = LastRuns(cast("Queries", history))
    asking = [asyncio.create_task(shown(runs)) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert history.asked == ["a"]
    asking[0].cancel()
    await asyncio.gather(asking[0], return_exceptions=True)
    history.gate.set()
    assert await asyncio.gather(*asking[1:]) == [("occ_1", "success")] * 4
    assert history.asked == ["a", "a"]


@pytest.mark.asyncio
async def test_the_jobs_of_a_page_are_looked_up_together_but_for_those_that_somebody_looks_up_already() -> None:
    class Slow(History):
        gate = asyncio.Event()
        together: ClassVar[list[list[str]]] = []

        async def newest_runs(self, jobs: Sequence[Job]) -> dict[str, Execution]:
            self.together.append([job.id for job in jobs])
            found = await super().newest_runs(jobs)
            await self.gate.wait()
            return found

    history = Slow(run(1), run(2, of="b"), run(3, of="c"))
    runs = LastRuns(cast("Queries", history))
    first = asyncio.create_task(runs.of([job("a"), job("b")]))
    await asyncio.sleep(0)
    second = asyncio.create_task(runs.of([job("b"), job("c"), job("d")]))
    await asyncio.sleep(0)
    history.gate.set()
    assert {name: last.id for name, last in (await first).items() if last} == {"a": "occ_1", "b": "occ_2"}
    assert {name: last and last.id for name, last in (await second).items()} == {"b": "occ_2", "c": "occ_3", "d": None}
    assert history.together == [["a", "b"], ["c", "d"]]


async def shown(runs: LastRuns, name: str = "a") -> tuple[str, str] | None:
    last = (await runs.of([job(name)]))[name]
    return None if last is None else (last.id, last.status.value)


@pytest.mark.asyncio
async def test_history_is_asked_once_and_events_do_the_rest() -> None:
    runs, history = followed(run(1), run(2))

    assert await shown(runs) == ("occ_2", "success")
    runs.on_events([event(run(3, Status.RUNNING))])
    assert await shown(runs) == ("occ_3", "running")
    runs.on_events([event(run(3, Status.FAILED))])
    assert await shown(runs) == ("occ_3", "failed")
    assert history.asked == ["a"]


@pytest.mark.asyncio
async def test_a_job_that_never_ran_is_asked_for_once_too() -> None:
    runs, history = followed()

    assert [await shown(runs), await shown(runs)] == [None, None]
    assert history.asked == ["a"]
    runs.on_events([event(run(1))])
    assert await shown(runs) == ("occ_1", "success")


@pytest.mark.asyncio
async def test_what_was_due_earlier_does_not_take_the_place_of_what_was_due_later() -> None:
    runs, _ = followed(run(5))

    await shown(runs)
    runs.on_events([event(run(4))])
    assert await shown(runs) == ("occ_5", "success")


@pytest.mark.asyncio
async def test_a_run_that_was_skipped_after_all_gives_way_to_the_one_before() -> None:
    runs, history = followed(run(1))
    await shown(runs)

    runs.on_events([event(run(2, Status.PENDING))])
    assert await shown(runs) == ("occ_2", "pending")
    runs.on_events([event(run(2, Status.SKIPPED))])
    assert await shown(runs) == ("occ_1", "success")
    assert history.asked == ["a", "a"]


@pytest.mark.asyncio
async def test_an_event_during_the_search_is_newer_than_what_the_search_finds() -> None:
    runs, history = followed(run(1), run(1, of="b"))
    await shown(runs, "b")
    history.meanwhile = lambda: runs.on_events([event(run(9, of="b"))])

    await shown(runs)
    assert await shown(runs, "b") == ("occ_9", "success")


@pytest.mark.asyncio
async def test_a_deleted_job_is_forgotten() -> None:
    runs, history = followed(run(1))
    await shown(runs)

    runs.on_events([Event(type=EventType.JOB_DELETED, index=2, seq=0, time_us=0, job_id="a")])
    history.found.clear()
    assert await shown(runs) is None


@pytest.mark.asyncio
async def test_there_is_an_end_to_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lastruns, "JOBS_MAX", 2)
    runs, history = followed(run(1, of="a"), run(1, of="b"), run(1, of="c"))

    for name in "abca":
        assert await shown(runs, name) == ("occ_1", "success")
    assert history.asked == ["a", "b", "c", "a"]


@pytest.mark.asyncio
async def test_a_job_made_meanwhile_is_not_looked_up_before_it_runs() -> None:
    runs, history = followed(run(1))
    made = Event(type=EventType.JOB_CREATED, index=1, seq=0, time_us=0, job_id="a", job=job())
    runs.on_events([made])
    assert await shown(runs) is None
    assert history.asked == []
    runs.on_events([event(run(1))])
    assert await shown(runs) == ("occ_1", "success")
    assert history.asked == ["a"]
