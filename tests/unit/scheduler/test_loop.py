from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from tests.unit.scheduler.harness import BEGIN_S, Node, World, a_spec, in_turn, lasting

from chronos.cluster.memory import MemoryLog
from chronos.dispatch.port import Answer, Delivery, NoAnswer, Outcome, Refused
from chronos.model.execution import Execution, Status
from chronos.scheduler import settler, turn
from chronos.scheduler.jobs import Asked, Changed
from chronos.scheduler.plan import GRACE_MIN_S, Plan
from chronos.scheduler.planner import Verdict, add_owed
from chronos.store import commandlog
from chronos.store.commandlog import CommandLogSettings
from chronos.store.commands import Catchup, decode_entry
from chronos.store.tables import META
from chronos.testing import virtual_time

REFUSED = Refused("HTTP 503", "http_status")


@virtual_time
async def test_a_job_fires_at_its_second_and_not_a_moment_before() -> None:
    world = World(latency=0.02)
    async with Node(world) as node:
        await node.create()
        await world.until(5.5)
    assert world.fired() == [1, 2, 3, 4, 5]
    assert [sent.at for sent in world.sent] == pytest.approx([1, 2, 3, 4, 5], abs=0.002)
    assert all(sent.at >= sent.instant for sent in world.sent)


@virtual_time
async def test_every_instant_has_one_record_and_every_run_one_attempt() -> None:
    world = World()
    async with Node(world) as node:
        job = await node.create()
        await world.until(30.5)
        assert await node.told(job) == [(second, "success") for second in range(1, 31)]
        assert all(len(r.attempts) == 1 for r in await node.records(job) if isinstance(r, Execution))


@virtual_time
async def test_what_was_missed_in_an_outage_is_coalesced_into_the_latest() -> None:
    world = World()
    async with Node(world) as node:
        job = await node.create(schedule="0 */10 * * * *")
        await world.until(601)
    await world.until(3700)
    async with Node(world) as node:
        await world.until(4201)
        assert world.fired() == [600, 3600, 4200]
        told = dict(await node.told(job))
        missed = [r for r in await node.records(job) if not isinstance(r, Execution)]
    assert [told[second] for second in (600, 3600, 4200)] == ["success"] * 3
    assert [(r.reason.value, r.first_s - BEGIN_S, r.count, r.into) for r in missed] == [
        ("coalesced", 1200, 4, world.sent[1].id)
    ]


@virtual_time
async def test_all_that_was_missed_runs_one_after_the_other() -> None:
    world = World()
    world.answers["nightly"] = lasting(3)
    async with Node(world) as node:
        job = await node.create(schedule="0 */5 * * * *", missed_run_policy="execute_all")
        await world.until(10)
    await world.until(3070)
    async with Node(world) as node:
        await world.until(3200)
        assert world.fired() == list(range(300, 3001, 300))
        assert {what for _, what in await node.told(job)} == {"success"}
    starts = [sent.at for sent in world.sent]
    assert all(later - earlier >= 3 for earlier, later in pairwise(starts))


@virtual_time
async def test_a_failure_is_tried_again_at_its_time_and_succeeds() -> None:
    world = World()
    world.answers["nightly"] = in_turn(REFUSED)
    async with Node(world) as node:
        job = await node.create(schedule="0 0 * * * *")
        execution = await node.jobs.trigger("nightly", namespace="default", by="ann")
        await world.until(300)
        ended = await node.one(job)
        assert ended.id == execution.id
        assert (ended.status, [a.n for a in ended.attempts]) == (Status.FAILED, [1, 2, 3])
        assert ended.reason.startswith("gave up after 3 attempts")
        assert node.queries.dead_letters("default").items == [ended]
    for sent, attempt in zip(world.sent, ended.attempts, strict=True):
        assert sent.at >= attempt.not_before_us / 1e6 - world.clock.time() + world.now - 0.000_1


@virtual_time
async def test_silence_counts_as_a_failure_and_the_id_stays_the_same() -> None:
    world = World()
    world.answers["nightly"] = in_turn(NoAnswer("timed out", "timeout"), REFUSED)
    async with Node(world) as node:
        await node.create(schedule="0 0 * * * *", retry_policy={"max_attempts": 2})
        await node.jobs.trigger("nightly", namespace="default", by="ann")
        await world.until(300)
    assert [sent.attempt for sent in world.sent] == [1, 2]
    assert len({sent.id for sent in world.sent}) == 1


@virtual_time
async def test_under_forbid_a_long_run_skips_what_comes_due_meanwhile() -> None:
    world = World()
    world.answers["nightly"] = lasting(2.5)
    async with Node(world) as node:
        job = await node.create(concurrency="forbid")
        await world.until(9.9)
        told = await node.told(job)
    assert [what for _, what in told[:7]] == ["success", "overlap", "overlap"] * 2 + ["success"]
    assert world.fired() == [1, 4, 7]


@virtual_time
async def test_under_queue_what_comes_due_meanwhile_waits_its_turn() -> None:
    world = World()
    world.answers["nightly"] = lasting(1.5)
    async with Node(world) as node:
        job = await node.create(schedule="0-9 * * * * *", concurrency="queue", queue_limit=100)
        await world.until(40)
        assert await node.told(job) == [(second, "success") for second in range(1, 10)]
    assert world.fired() == list(range(1, 10))


@virtual_time
async def test_under_allow_runs_overlap() -> None:
    world = World()
    world.answers["nightly"] = lasting(5)
    async with Node(world) as node:
        await node.create(concurrency="allow", max_concurrent=3)
        await world.until(7.4)
    assert world.fired() == [1, 2, 3, 4, 5]
    assert [round(sent.at) for sent in world.sent] == [1, 2, 3, 6, 7]


@virtual_time
async def test_replace_stops_the_old_run_before_the_new_one_starts() -> None:
    world = World()
    world.answers["nightly"] = lasting(10)
    async with Node(world) as node:
        job = await node.create(schedule="*/3 * * * * *", concurrency="replace")
        await world.until(11)
        told = await node.told(job)
    assert world.fired() == [3, 6, 9]
    assert told == [(3, "cancelled"), (6, "cancelled"), (9, "running")]


@virtual_time
async def test_a_queue_moves_on_at_once_when_a_retry_gives_its_slot_back() -> None:
    world = World()
    world.answers["nightly"] = lasting(0.4, REFUSED)
    policy = {"retry_holds_slot": False, "initial_interval": "5m", "max_interval": "5m", "max_attempts": 2}
    async with Node(world) as node:
        await node.create(schedule="0 0 * * * *", concurrency="queue", queue_limit=5, retry_policy=policy)
        for _ in range(3):
            await node.jobs.trigger("nightly", namespace="default", by="ann")
        await world.until(2)
    assert [sent.attempt for sent in world.sent] == [1, 1, 1]
    assert world.sent[-1].at < 1.0


@pytest.mark.parametrize(("bound", "value"), [("DUE_MAX", 20), ("ENTRY_BYTES", 2_000), ("ENTRY_BYTES", 9_000)])
@virtual_time
async def test_more_jobs_than_fit_into_an_entry_all_run_at_their_second(
    bound: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, bound, value)
    world = World()
    async with Node(world) as node:
        jobs = [await node.create(f"job{n}", "30 0 12 * * *") for n in range(100)]
        await world.until(33)
        assert [(await node.one(job)).status for job in jobs] == [Status.SUCCESS] * 100
    assert len(world.sent) == len({sent.id for sent in world.sent}) == 100
    assert max(sent.at for sent in world.sent) < 31


@virtual_time
async def test_whoever_may_start_does_while_more_is_due_each_second_than_can_be_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turn, "DUE_MAX", 20)
    world = World(latency=0.6)
    async with Node(world) as node:
        for n in range(30):
            await node.create(f"job{n}", "* * * * * *")
        begun = world.now
        await world.until(begun + 60)
    last = max(sent.at for sent in world.sent)
    assert begun + 50 < last
    assert len({sent.job for sent in world.sent if sent.at > begun + 30}) == 30


@virtual_time
async def test_a_crowd_that_is_late_but_in_time_is_decided_second_by_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "DUE_MAX", 20)
    monkeypatch.setattr(turn, "ENTRY_BYTES", 20 * turn.OWED_BYTES)
    world = World()
    async with Node(world) as node:
        jobs = [await node.create(f"job{n}", "10-13 0 12 * * *", concurrency="allow") for n in range(15)]
        await world.until(9)
        world.latency = lambda: 3.0 if 9 < world.now < 12 else 0.002
        await world.until(30)
        assert [await node.told(job) for job in jobs] == [[(n, "success") for n in range(10, 14)]] * 15
        entries = [decode_entry(entry.data) async for entry in MemoryLog(world.disk).tail(1)]
    made_up_for = [command for entry in entries for command in entry.commands if isinstance(command, Catchup)]
    assert not [command for command in made_up_for if command.occurrences]


@virtual_time
async def test_of_what_is_late_no_more_is_worked_out_than_one_entry_holds_before_the_catch_up_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def seen(total: Verdict, plan: Plan, *, after_s: int, to_s: int, now_us: int, claim_to_us: int) -> None:
        asked.append(to_s - after_s)
        add_owed(total, plan, after_s=after_s, to_s=to_s, now_us=now_us, claim_to_us=claim_to_us)

    monkeypatch.setattr(turn, "ENTRY_BYTES", 500 * turn.OWED_BYTES)
    monkeypatch.setattr(turn, "add_owed", seen)
    world = World()
    async with Node(world) as node:
        jobs = [await node.create(f"job{n}", "* * * * * *", concurrency="allow") for n in range(400)]
        await world.until(9.5)
        world.latency = lambda: 8.0 if world.now < 10 else 0.002
        await world.until(30)
        for job in jobs:
            assert {second for second, _ in await node.told(job)} >= set(range(11, 29))
    assert 0 < sum(span > GRACE_MIN_S for span in asked) <= 100


@virtual_time
async def test_a_decision_bigger_than_the_log_takes_is_made_in_steps_instead_of_being_asked_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settler, "BATCH_MAX", 100)
    world = World()
    async with Node(world, log_settings=CommandLogSettings(submission_bytes_max=30_000)) as node:
        jobs = [await node.create(f"job{n}", "30 0 12 * * *") for n in range(300)]
        await world.until(60)
        assert [(await node.one(job)).status for job in jobs] == [Status.SUCCESS] * 300


@virtual_time
async def test_big_answers_are_settled_in_entries_that_fit() -> None:
    world = World()
    answer = Answer(status_code=503, excerpt="é" * 1_024, notes=("n" * 900,) * 20)

    async def refuse_together(_: Delivery) -> Outcome:
        await world.until(20)
        return Refused("e" * 100_000, "http_status", answer, permanent=True)

    world.answers["nightly"] = refuse_together
    async with Node(world) as node:
        await node.create(schedule="0 0 * * * *", concurrency="allow", max_concurrent=1_000)
        for _ in range(300):
            await node.jobs.trigger("nightly", namespace="default", by="ann")
        await world.until(30)
        assert node.queries.open_executions() == []
        assert node.state.get(META, "meta").dead == 300  # type: ignore[union-attr]


@virtual_time
async def test_of_two_jobs_due_at_once_the_one_with_the_higher_priority_starts_first() -> None:
    world = World()
    async with Node(world) as node:
        for name, priority in (("low", 1), ("high", 9), ("middle", 5)):
            await node.create(name=name, schedule="0 * * * * *", priority=priority)
        await world.until(61)
    assert [sent.job for sent in world.sent] == ["high", "middle", "low"]


@virtual_time
async def test_a_stream_of_edits_does_not_keep_anybody_from_firing() -> None:
    world = World(latency=0.004)

    async def keep_creating(node: Node, who: int) -> None:
        for n in range(600):
            await node.create(f"other-{who}-{n}", "0 0 0 1 1 *")

    async with Node(world) as node:
        await node.create()
        async with asyncio.TaskGroup() as group:
            for who in range(5):
                group.create_task(keep_creating(node, who))
        busy = world.now
        await world.until(busy + 1)
    assert busy > 2
    assert world.fired() == list(range(1, int(world.now) + 1))
    assert max(sent.at - sent.instant for sent in world.sent) < 0.05


@virtual_time
async def test_the_watch_over_the_scheduler_lasts_until_it_is_stopped() -> None:
    world = World()
    async with Node(world) as node:
        watch = asyncio.create_task(node.scheduler.failure())
        await world.until(5)
        assert not watch.done()
        await node.scheduler.stop(drain_s=0)
        await world.until(6)
        assert watch.done()
    await watch


@virtual_time
async def test_nothing_is_decided_before_the_scheduler_has_heard_of_all_that_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commandlog, "EVENTS_AT_ONCE", 1)
    world = World(latency=0.002)
    async with Node(world) as node:
        await node.create("busy")
        # Durable a hair after the moment at which the tenth second is decided, and told of one after the other.
        await world.until(9.748)
        asked = [Asked(a_spec(f"rare-{number}", "0 0 1 1 *")) for number in range(5)]
        created = await node.jobs.create_all([*asked, Asked(a_spec("new"))], by="ann")
        await world.until(12.5)
        new = created[-1]
        assert isinstance(new, Changed)
        assert await node.told(new.job) == [(second, "success") for second in (10, 11, 12)]
