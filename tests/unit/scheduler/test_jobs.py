from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.scheduler.harness import BEGIN, BEGIN_S, Node, World, a_spec, in_turn, lasting

from chronos.dispatch.port import Delivered, Delivery, Done, NotSent, Outcome, Refused
from chronos.errors import (
    ExecutionEnded,
    ExecutionNotFound,
    JobInvalid,
    JobNotFound,
    Overlap,
    Unprocessable,
    VersionConflict,
)
from chronos.model.execution import Execution, Status
from chronos.model.job import Job
from chronos.model.sealing import SealBroken
from chronos.model.secret import SEALED_PREFIX
from chronos.model.target import BearerAuth, HttpTarget
from chronos.scheduler.settings import SchedulerSettings
from chronos.store.commands import Idem, PutDocument
from chronos.testing import VirtualClock, run_virtual, virtual_time

HOURLY = "0 0 * * * *"
LUNCH = b'{"blackouts": [{"start": "2027-01-01T12:00:15Z", "end": "2027-01-01T12:00:55Z", "reason": "lunch"}]}'
OFFSETS_MS = [-300, -260, -251, -250, -249, -240, -200, -100, -20, -5, -3, -2, -1, 0, 1, 2, 3, 5, 20, 100, 300]
NS: dict[str, Any] = {"namespace": "default", "by": "ann"}


async def instants_of(node: Node, job: Job) -> Counter[int]:
    """Return how many records each instant of a job has."""
    return Counter(second for second, _ in await node.told(job))


# Around the due instant: nothing is lost, nothing is doubled.


@pytest.mark.parametrize("offset_ms", OFFSETS_MS)
@pytest.mark.parametrize("latency", [0.0005, 0.03, 0.4])
def test_an_edit_around_the_due_instant_neither_loses_nor_doubles_it(offset_ms: int, latency: float) -> None:
    async def main() -> None:
        world = World(latency=latency)
        async with Node(world) as node:
            job = await node.create(schedule="* * * * * *")
            await world.until(5 + offset_ms / 1000)
            await node.put(schedule="*/1 * * * * *", jitter="1ms")
            await world.until(15)
            found = await instants_of(node, job)
        assert set(range(1, 13)) <= set(found)
        assert set(found.values()) == {1}
        assert sorted(set(world.fired())) == sorted(world.fired())

    run_virtual(main)


@pytest.mark.parametrize("offset_ms", OFFSETS_MS)
@pytest.mark.parametrize("latency", [0.0005, 0.03, 0.4])
def test_an_edit_away_from_an_instant_leaves_it_with_one_record_or_none(offset_ms: int, latency: float) -> None:
    async def main() -> None:
        world = World(latency=latency)
        async with Node(world) as node:
            job = await node.create(schedule="* * * * * *")
            await world.until(5 + offset_ms / 1000)
            edited = await node.put(schedule="*/10 * * * * *")
            since = edited.updated_at_us / 1e6 - BEGIN_S
            await world.until(20.5)
            found = await instants_of(node, job)
        wanted = Counter([second for second in range(1, 20) if second <= since] + [10, 20])
        extra = found - wanted
        assert wanted - found == Counter(), (since, wanted - found)
        assert set(extra.values()) <= {1}
        assert all(since < second < since + 1 for second in extra), "only what was decided ahead, and cancelled"

    run_virtual(main)


@pytest.mark.parametrize("offset_ms", [-260, -10, -1, 0, 1, 10])
@pytest.mark.parametrize("latency", [0.0005, 0.03])
def test_a_job_created_around_a_second_owes_it_only_if_it_was_first(offset_ms: int, latency: float) -> None:
    async def main() -> None:
        world = World(latency=latency)
        async with Node(world) as node:
            await node.create("other")
            await world.until(5 + offset_ms / 1000)
            job = await node.create()
            since = job.created_at_us / 1e6 - BEGIN_S
            await world.until(9.5)
            owed = [second for second in range(1, 10) if second > since]
            assert await instants_of(node, job) == Counter(owed)
            assert world.fired() == owed

    run_virtual(main)


@pytest.mark.parametrize("offset_ms", OFFSETS_MS)
@pytest.mark.parametrize("latency", [0.0005, 0.03])
def test_nothing_leaves_once_a_pause_is_acknowledged(offset_ms: int, latency: float) -> None:
    async def main() -> None:
        world = World(latency=latency)
        async with Node(world) as node:
            job = await node.create()
            await world.until(5 + offset_ms / 1000)
            changed = await node.jobs.pause("nightly", **NS)
            acknowledged = world.now
            await world.until(8.2)
            late = [sent for sent in world.sent if sent.at > acknowledged]
            assert {sent.id for sent in late} <= set(changed.already_sent)
            await node.jobs.resume("nightly", **NS)
            await world.until(12.5)
            assert await instants_of(node, job) == Counter(range(1, 13))

    run_virtual(main)


@pytest.mark.parametrize("offset_ms", OFFSETS_MS)
def test_pausing_and_resuming_inside_the_lead_keeps_one_record_each(offset_ms: int) -> None:
    async def main() -> None:
        world = World(latency=0.01)
        async with Node(world) as node:
            job = await node.create()
            await world.until(5 + offset_ms / 1000)
            await node.jobs.pause("nightly", **NS)
            await node.jobs.resume("nightly", **NS)
            await world.until(9.5)
            assert await instants_of(node, job) == Counter(range(1, 10))

    run_virtual(main)


@pytest.mark.parametrize("offset_ms", OFFSETS_MS)
def test_nothing_leaves_once_a_deletion_is_acknowledged(offset_ms: int) -> None:
    async def main() -> None:
        world = World(latency=0.01)
        async with Node(world) as node:
            job = await node.create()
            await world.until(5 + offset_ms / 1000)
            changed = await node.jobs.delete("nightly", **NS)
            acknowledged = world.now
            await world.until(9)
            late = [sent for sent in world.sent if sent.at > acknowledged]
            assert {sent.id for sent in late} <= set(changed.already_sent)
            found = await instants_of(node, job)
            assert [second for second in range(1, 5) if found[second] != 1] == []
            assert set(found.values()) == {1}
            assert node.queries.open_executions() == []

    run_virtual(main)


@pytest.mark.parametrize("seed", range(20))
def test_a_pause_in_any_order_of_events_lets_nothing_through(seed: int) -> None:
    async def main() -> None:
        world = World(latency=0.05)
        async with Node(world) as node:
            await node.create()
            await world.until(4.72)
            # While this is on its way, the grant of second 5 and the pause come to stand in one entry.
            other = asyncio.create_task(node.put(description="x"))
            await world.until(4.76)
            changed = await node.jobs.pause("nightly", **NS)
            acknowledged = world.now
            await world.until(7)
            await other
            assert node.queries.open_executions() == []
        assert {sent.id for sent in world.sent if sent.at > acknowledged} <= set(changed.already_sent)

    run_virtual(main, seed=seed)


# Pauses.


@virtual_time
async def test_what_passes_in_a_pause_is_recorded_as_paused() -> None:
    world = World()
    async with Node(world) as node:
        job = await node.create()
        await world.until(3.5)
        await node.jobs.pause("nightly", reason="holiday", **NS)
        await world.until(10.5)
        await node.jobs.resume("nightly", **NS)
        await world.until(12.5)
        told = await node.told(job)
    assert told == [(second, "paused" if 3 < second < 11 else "success") for second in range(1, 13)]


@virtual_time
async def test_a_pause_with_an_end_ends_by_itself() -> None:
    world = World()
    async with Node(world) as node:
        await node.create()
        await world.until(2.5)
        await node.jobs.pause("nightly", until=BEGIN + timedelta(seconds=30), **NS)
    async with Node(world) as node:
        await world.until(35.5)
        job = await node.jobs.get("nightly", namespace="default")
        assert job.paused is None
    assert [second for second in world.fired() if second > 2] == [31, 32, 33, 34, 35]


@virtual_time
async def test_a_pause_cannot_end_in_the_past() -> None:
    async with Node(World()) as node:
        await node.create()
        with pytest.raises(JobInvalid, match="future"):
            await node.jobs.pause("nightly", until=BEGIN - timedelta(seconds=1), **NS)


@virtual_time
async def test_a_paused_job_stays_paused_when_it_is_edited() -> None:
    world = World()
    async with Node(world) as node:
        job = await node.create()
        await world.until(2.5)
        await node.jobs.pause("nightly", **NS)
        await world.until(4.5)
        await node.put(schedule="*/2 * * * * *")
        await world.until(8.5)
        assert (await node.put(schedule="*/2 * * * * *", description="x")).paused is not None
        await node.put(schedule="*/2 * * * * *", enabled=True)
        await world.until(12.5)
        told = await node.told(job)
    assert world.fired() == [1, 2, 10, 12]
    # The range from 6 to 8 covers the schedule's even seconds.
    assert Counter(what for _, what in told)["success"] == 4
    assert [r.count for r in await node.records(job) if not isinstance(r, Execution)] == [2, 2]


@pytest.mark.parametrize("seed", range(8))
def test_a_job_that_is_paused_because_its_target_is_gone_still_records_what_passed_before(seed: int) -> None:
    async def main() -> None:
        world = World()
        clock = world.clock
        assert isinstance(clock, VirtualClock)

        asked: list[str] = []

        async def gone(delivery: Delivery) -> Outcome:
            if not asked:
                clock.suspend(30)  # the machine sleeps while it waits for the answer
            asked.append(delivery.execution_id)
            return Refused("HTTP 410", "http_status", permanent=True, gone=True)

        world.answers["nightly"] = gone
        async with Node(world) as node:
            job = await node.create(
                schedule="*/3 * * * * *", webhook={"url": "http://127.0.0.1:9/", "pause_on_gone": True}
            )
            await world.until(10)
            paused = await node.jobs.get("nightly", namespace="default")
            assert paused.paused is not None
            assert paused.paused.at is not None
            passed = int(paused.paused.at.timestamp()) - BEGIN_S
            assert passed >= 33
            told = await node.told(job)
        assert {second for second, _ in told} >= set(range(3, passed + 1, 3))

    run_virtual(main, seed=seed)


@virtual_time
async def test_a_target_that_is_gone_pauses_its_job_if_it_wants_so() -> None:
    world = World()
    world.answers["nightly"] = in_turn(Refused("HTTP 410", "http_status", permanent=True, gone=True))
    async with Node(world) as node:
        await node.create(webhook={"url": "http://127.0.0.1:9/", "pause_on_gone": True})
        await world.until(5.5)
        job = await node.jobs.get("nightly", namespace="default")
    assert world.fired() == [1]
    assert job.paused is not None
    assert "410" in job.paused.reason


# Runs by hand.


@virtual_time
async def test_a_run_by_hand_leaves_at_once_and_can_be_waited_for() -> None:
    world = World()
    world.answers["nightly"] = lasting(2)
    async with Node(world) as node:
        await node.create(schedule=HOURLY)
        execution = await node.jobs.trigger("nightly", **NS)
        running = await node.jobs.wait(execution.id, 1, namespace="default")
        assert running.status is Status.RUNNING
        ended = await node.jobs.wait(execution.id, 10, namespace="default")
        assert ended.status is Status.SUCCESS
        assert (await node.jobs.wait(execution.id, 10, namespace="default")) == ended
        assert 2 < world.now < 2.1


@virtual_time
async def test_a_second_run_by_hand_is_refused_unless_it_is_forced() -> None:
    world = World()
    world.answers["nightly"] = lasting(2)
    async with Node(world) as node:
        await node.create(schedule=HOURLY)
        first = await node.jobs.trigger("nightly", **NS)
        await world.until(1)
        with pytest.raises(Overlap) as refused:
            await node.jobs.trigger("nightly", **NS)
        assert refused.value.facts["blocked_by"] == first.id
        await node.jobs.trigger("nightly", force=True, **NS)
        await world.until(1.1)
    assert len(world.sent) == 2


@virtual_time
async def test_a_repeated_trigger_is_answered_with_the_first_run() -> None:
    async with Node(World()) as node:
        await node.create(schedule=HOURLY)
        idem = Idem("scope", "k", "b")
        first = await node.jobs.trigger("nightly", idem=idem, **NS)
        await asyncio.sleep(5)
        again = await node.jobs.trigger("nightly", idem=idem, **NS)
    assert again.id == first.id
    assert again.status is Status.SUCCESS


@virtual_time
async def test_a_replay_runs_the_version_that_ran() -> None:
    world = World()
    async with Node(world) as node:
        await node.create(schedule=HOURLY)
        first = await node.jobs.trigger("nightly", **NS)
        await world.until(1)
        await node.put(schedule=HOURLY, description="new")
        again = await node.jobs.replay(first.id, **NS)
    assert (again.revision, again.replay_of) == (1, first.id)
    assert again.id != first.id


@virtual_time
async def test_a_backfill_runs_past_instants_in_order_and_a_repeat_names_the_same() -> None:
    world = World()
    world.answers["nightly"] = lasting(3)
    async with Node(world) as node:
        await node.create(schedule="0 */10 * * * *")
        idem = Idem("scope", "k", "b")
        span: dict[str, Any] = {"since": BEGIN - timedelta(hours=1), "until": BEGIN}
        ids = await node.jobs.backfill("nightly", idem=idem, **span, **NS)
        await world.until(100)
        assert await node.jobs.backfill("nightly", idem=idem, **span, **NS) == ids
        await world.until(200)
    assert world.fired() == [-3600, -3000, -2400, -1800, -1200, -600]
    assert [sent.id for sent in world.sent] == ids


@virtual_time
async def test_what_runs_is_stopped_when_it_is_cancelled_and_stays_cancelled() -> None:
    world = World()
    world.answers["nightly"] = lasting(100)
    async with Node(world) as node:
        await node.create(schedule=HOURLY)
        execution = await node.jobs.trigger("nightly", **NS)
        await world.until(5)
        idem = Idem("scope", "k", "b")
        asked = await node.jobs.cancel(execution.id, reason="enough", idem=idem, **NS)
        assert asked.cancel_requested
        ended = await node.jobs.wait(execution.id, 5, namespace="default")
        assert (ended.status, ended.reason) == (Status.CANCELLED, "enough")
        assert (await node.jobs.cancel(execution.id, reason="enough", idem=idem, **NS)).status is Status.CANCELLED
        with pytest.raises(ExecutionEnded):
            await node.jobs.cancel(execution.id, **NS)
        with pytest.raises(ExecutionNotFound):
            await node.jobs.cancel("occ_none", **NS)
    assert world.now < 11


@virtual_time
async def test_a_redrive_runs_a_dead_letter_anew() -> None:
    world = World()
    world.answers["nightly"] = in_turn(Refused("HTTP 400", "http_status", permanent=True))
    async with Node(world) as node:
        await node.create(schedule=HOURLY)
        execution = await node.jobs.trigger("nightly", **NS)
        await world.until(1)
        del world.answers["nightly"]
        idem = Idem("scope", "k", "b")
        [again] = await node.jobs.redrive([execution.id], idem=idem, **NS)
        assert again.series == 1
        await world.until(2)
        [repeat] = await node.jobs.redrive([execution.id], idem=idem, **NS)
        assert (repeat.id, repeat.status) == (execution.id, Status.SUCCESS)
        assert (await node.queries.execution(execution.id)).series == 1  # type: ignore[union-attr]


# Writing.


@virtual_time
async def test_a_credential_is_sealed_and_stars_keep_it() -> None:
    async with Node(World()) as node:
        hook = {"url": "http://127.0.0.1:9/", "auth": {"type": "bearer", "token": "hush"}}
        job = await node.create(schedule=HOURLY, webhook=hook)
        sealed = _token(job)
        assert sealed.startswith(SEALED_PREFIX)
        assert "hush" not in repr(node.world.disk.entries)
        hook["auth"] = {"type": "bearer", "token": "***"}
        assert _token(await node.put(schedule=HOURLY, webhook=hook)) == sealed
        with pytest.raises(JobInvalid, match="no credential to keep"):
            await node.create("other", HOURLY, webhook=hook)
        hook["auth"] = {"type": "bearer", "token": sealed}
        assert _token(await node.put(schedule=HOURLY, webhook=hook)) == sealed
        with pytest.raises(SealBroken):
            await node.create("other", HOURLY, webhook=hook)


def _token(job: Job) -> str:
    assert isinstance(job.target, HttpTarget)
    assert isinstance(job.target.auth, BearerAuth)
    return job.target.auth.token


@virtual_time
async def test_a_repeated_creation_is_answered_with_the_first_job() -> None:
    async with Node(World()) as node:
        idem = Idem("scope", "k", "b")
        first = await node.jobs.create(a_spec(schedule=HOURLY), by="ann", idem=idem)
        again = await node.jobs.create(a_spec(schedule=HOURLY), by="ann", idem=idem)
        assert (again.job, again.replayed) == (first.job, True)


@virtual_time
async def test_a_repeated_deletion_is_answered_with_the_job_that_it_deleted() -> None:
    async with Node(World()) as node:
        await node.create(schedule=HOURLY)
        idem = Idem("scope", "k", "b")
        first = await node.jobs.delete("nightly", idem=idem, **NS)
        again = await node.jobs.delete("nightly", idem=idem, **NS)
        assert (again.job, again.replayed) == (first.job, True)
        with pytest.raises(JobNotFound):
            await node.jobs.delete("nightly", **NS)


@virtual_time
async def test_a_write_on_a_stale_version_says_so() -> None:
    async with Node(World()) as node:
        await node.create(schedule=HOURLY)
        await node.put(schedule=HOURLY, description="x")
        with pytest.raises(VersionConflict):
            await node.jobs.pause("nightly", revision=1, **NS)


@virtual_time
async def test_a_job_is_found_by_its_id_its_name_and_the_beginning_of_its_id() -> None:
    async with Node(World()) as node:
        job = await node.create(schedule=HOURLY)
        for ref in (job.id, "nightly", job.id[:20]):
            assert await node.jobs.get(ref, namespace="default") == job
        for ref in (job.id[:3], "other"):
            with pytest.raises(JobNotFound):
                await node.jobs.get(ref, namespace="default")
        with pytest.raises(JobNotFound):
            await node.jobs.get(job.id, namespace="elsewhere")


@virtual_time
async def test_what_would_never_fire_is_refused() -> None:
    async with Node(World()) as node:
        for schedule in ("0 0 30 2 *", "@at 2020-01-01T00:00:00Z", "nonsense"):
            with pytest.raises(Unprocessable):
                await node.create(schedule=schedule)
        with pytest.raises(Unprocessable):
            await node.create(schedule=HOURLY, calendar="none")


@virtual_time
async def test_a_calendar_that_changes_changes_what_its_jobs_owe() -> None:
    world = World()

    async def calendar(node: Node, value: bytes | None) -> None:
        await node.commands.propose(PutDocument("calendars", "default", "bank", value, "ann", replans=True))

    free, closed = b"{}", b'{"exclude": ["2027-01-01"]}'
    async with Node(world) as node:
        await calendar(node, free)
        job = await node.create(calendar="bank")
        await world.until(3.5)
        await calendar(node, closed)
        await world.until(6.5)
        await calendar(node, None)
        await world.until(8.5)
        await calendar(node, free)
        await world.until(11.5)
        told = await node.told(job)
    assert [second for second in world.fired() if not 3 < second < 9] == [1, 2, 3, 9, 10, 11]
    assert [second for second, _ in told] == list(range(1, 12))
    assert dict(told)[5] == dict(told)[6] == "blackout"


@virtual_time
async def test_what_a_calendar_leaves_out_is_written_down_in_its_time_whoever_else_is_due() -> None:
    world = World()
    async with Node(world) as node:
        await node.commands.propose(PutDocument("calendars", "default", "bank", LUNCH, "ann", replans=True))
        job = await node.create("quiet", schedule="*/10 * * * * *", calendar="bank")
        await node.create("busy", schedule="* * * * * *")
        await world.until(65)
        assert await node.told(job) == [(10, "success")] + [(s, "blackout") for s in range(20, 51)] + [(60, "success")]
        [record] = [r for r in await node.records(job) if not isinstance(r, Execution)]
        assert (record.count, record.facts) == (4, "lunch")


@virtual_time
async def test_what_a_calendar_leaves_out_is_not_lost_by_an_edit() -> None:
    world = World()
    async with Node(world) as node:
        await node.commands.propose(PutDocument("calendars", "default", "bank", LUNCH, "ann", replans=True))
        job = await node.create(schedule="*/10 * * * * *", calendar="bank")
        await world.until(25)
        await node.put(schedule="*/20 * * * * *", calendar="bank")
        await world.until(65)
        records = [r for r in await node.records(job) if not isinstance(r, Execution)]
    assert sum(record.count for record in records) == 2  # 20 by the old definition, 40 by the new one
    assert world.fired() == [10, 60]


@virtual_time
async def test_what_passed_in_a_pause_is_recorded_when_the_job_is_deleted_during_it() -> None:
    world = World()
    async with Node(world) as node:
        job = await node.create()
        await world.until(3.5)
        await node.jobs.pause("nightly", **NS)
        await world.until(9.5)
        await node.jobs.delete("nightly", **NS)
        await world.until(12)
        told = await node.told(job)
    assert told == [(s, "success") for s in (1, 2, 3)] + [(s, "paused") for s in range(4, 10)]


@virtual_time
async def test_a_late_result_is_shown_with_the_execution() -> None:
    world = World()
    async with Node(world) as node:
        await node.create()
        await world.until(1.5)
        [sent] = world.sent
        node.executor._on_done([Done(sent.id, 1, Delivered(), 1, 2)])
        await world.until(2)
        shown = await node.jobs.execution(sent.id, namespace="default")
    assert (shown.status, shown.notes) == (Status.SUCCESS, ("late_result: attempt 1 success",))


@virtual_time
async def test_what_a_run_waited_for_is_shown_with_its_attempt() -> None:
    world = World()
    world.answers["nightly"] = in_turn(NotSent("breaker", 2.0), NotSent("host_cap", 0.5), Delivered())
    async with Node(world) as node:
        job = await node.create(schedule="*/30 * * * * *")
        await world.until(31)
        waiting = await node.one(job)
        assert (waiting.reason, waiting.waited.breaker) == ("breaker", 2000)
        await world.until(40)
        ended = await node.one(job)
    assert (ended.attempts[0].n, ended.attempts[0].waited.breaker, ended.attempts[0].waited.host_cap) == (1, 2000, 500)


@virtual_time
async def test_the_versions_of_a_deleted_job_are_kept_as_long_as_history() -> None:
    world = World()
    async with Node(world, settings=SchedulerSettings(history_days=0.01)) as node:
        job = await node.create(schedule=HOURLY)
        await node.jobs.delete("nightly", **NS)
        await world.until(800)
        assert len(node.queries.revisions(job.id).items) == 1
        await world.until(1000)
        assert node.queries.revisions(job.id).items == []
