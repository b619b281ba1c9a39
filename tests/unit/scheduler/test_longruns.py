"""Targets that answer 202: what they report, and what happens when they do not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.scheduler.harness import BEGIN_S, Node, World, in_turn

from chronos.dispatch.port import Accepted, Answer, Delivered, Delivery, Outcome, Refused
from chronos.errors import AttemptEnded, ExecutionNotFound, StorageFull
from chronos.model.callback import Heard, Standing
from chronos.model.events import EventType
from chronos.model.execution import AttemptStatus, Execution, Status
from chronos.store.tables import SLOTS
from chronos.testing import virtual_time

HOURLY = "0 0 * * * *"
S = 1_000_000
TAKEN = Answer(202, 5, "ab", "on it")


def taking(*, deadline: float = 3_600, heartbeat: float = 0) -> Outcome:
    return Accepted(TAKEN, deadline_us=int(deadline * S), heartbeat_us=int(heartbeat * S))


def a_world(*outcomes: Outcome) -> World:
    world = World()
    world.answers["nightly"] = in_turn(*(outcomes or (taking(),)))
    return world


async def begun(node: Node, **spec: Any) -> str:
    """Return the id of a run whose target has answered."""
    if "nightly" not in {job.name for job in node.queries.all_jobs()}:
        await node.create(schedule=HOURLY, **spec)
    execution = await node.jobs.trigger("nightly", namespace="default", by="ann")
    await asyncio.sleep(0.5)
    return execution.id


async def found(node: Node, key: str) -> Execution:
    record = await node.queries.execution(key)
    assert isinstance(record, Execution)
    return record


async def say(node: Node, key: str, attempt: int = 1, **report: Any) -> Standing:
    return await node.jobs.hear(Heard(execution_id=key, attempt=attempt, **report))


@virtual_time
async def test_a_run_whose_target_has_taken_it_on_goes_on_after_the_answer() -> None:
    async with Node(a_world()) as node:
        key = await begun(node)
        run = await found(node, key)
        assert (run.status, node.executor.in_flight(), len(node.scheduler.long_runs)) == (Status.RUNNING, 0, 1)
        [attempt] = run.attempts
        assert (attempt.status, attempt.status_code, attempt.excerpt) == (AttemptStatus.STARTED, 202, "on it")
        assert attempt.ongoing is not None
        assert attempt.ongoing.deadline_us == attempt.started_at_us + 3_600 * S


@virtual_time
async def test_what_is_reported_is_shown_and_the_result_ends_the_run() -> None:
    async with Node(a_world()) as node:
        key = await begun(node)
        await asyncio.sleep(60)
        assert await say(node, key, progress=40, message="four of ten") == Standing(execution_id=key, status="running")
        ongoing = (await found(node, key)).attempts[0].ongoing
        assert ongoing is not None
        assert (ongoing.progress, ongoing.message) == (40, "four of ten")
        assert ongoing.heard_us == pytest.approx((BEGIN_S + node.world.now) * S, abs=S)
        assert (await say(node, key, success=True, output="all ten")).status == "success"
        run = await found(node, key)
        assert (run.status, run.attempts[0].status, run.attempts[0].excerpt) == (
            Status.SUCCESS,
            AttemptStatus.SUCCESS,
            "all ten",
        )
        assert run.attempts[0].ongoing is not None
        assert run.attempts[0].ongoing.progress == 40
        assert len(node.scheduler.long_runs) == 0


@virtual_time
async def test_a_reported_failure_is_tried_again_as_the_policy_says_unless_that_cannot_help() -> None:
    async with Node(a_world()) as node:
        key = await begun(node)
        assert (await say(node, key, success=False, message="disk full")).status == "retrying"
        assert (await found(node, key)).attempts[0].error == "disk full"
        await asyncio.sleep(5)
        assert (await say(node, key, 2, success=False, retry=False)).status == "failed"
        run = await found(node, key)
        assert [a.status for a in run.attempts] == [AttemptStatus.FAILED] * 2
        assert run.reason == "the target reported a failure"


@virtual_time
async def test_a_result_that_is_repeated_changes_nothing_and_is_confirmed() -> None:
    async with Node(a_world()) as node:
        key = await begun(node)
        said = {await say(node, key, success=True) for _ in range(3)}
        assert said == {Standing(execution_id=key, status="success")}
        assert (await found(node, key)).notes == ()
        key = await begun(node)
        for _ in range(3):
            assert (await say(node, key, success=False)).status in ("retrying", "running")
        assert (await found(node, key)).notes == ()
        assert len((await found(node, key)).attempts) <= 2


@virtual_time
async def test_results_that_come_at_once_are_settled_once() -> None:
    async with Node(a_world()) as node:
        key = await begun(node)
        said = await asyncio.gather(*(say(node, key, success=n % 2 == 0) for n in range(6)), return_exceptions=True)
        assert {type(answer) for answer in said} == {Standing, AttemptEnded}
        run = await found(node, key)
        assert (run.status, run.notes) == (Status.SUCCESS, ("late_result: attempt 1 failed",))


@virtual_time
async def test_a_result_after_the_end_is_a_note_once_and_a_refusal_every_time() -> None:
    async with Node(a_world(taking(deadline=60))) as node:
        key = await begun(node, retry_policy={"max_attempts": 1})
        await asyncio.sleep(70)
        assert (await found(node, key)).status is Status.FAILED
        for _ in range(3):
            with pytest.raises(AttemptEnded, match="is over; the execution is failed"):
                await say(node, key, success=True)
        with pytest.raises(AttemptEnded):
            await say(node, key, progress=50)
        assert (await found(node, key)).notes == ("late_result: attempt 1 success",)
        assert (await found(node, key)).status is Status.FAILED


@virtual_time
async def test_nothing_is_known_of_what_never_was() -> None:
    async with Node(a_world()) as node:
        with pytest.raises(ExecutionNotFound):
            await say(node, "occ_" + "0" * 32, success=True)


@virtual_time
async def test_work_that_misses_its_deadline_is_told_to_stop_and_tried_again() -> None:
    async with Node(a_world(taking(deadline=60))) as node:
        key = await begun(node)
        await asyncio.sleep(59.4)
        assert len((await found(node, key)).attempts) == 1
        await asyncio.sleep(3)
        run = await found(node, key)
        assert [a.status for a in run.attempts] == [AttemptStatus.FAILED, AttemptStatus.STARTED]
        assert (run.attempts[0].error_class, run.tries) == ("deadline", 1)
        assert [(id_, attempt) for _, id_, attempt in node.world.stopped] == [(key, 1)]


@virtual_time
async def test_silence_beyond_the_heartbeat_means_that_nobody_knows() -> None:
    async with Node(a_world(taking(heartbeat=30))) as node:
        key = await begun(node)
        for _ in range(6):
            await asyncio.sleep(20)
            await say(node, key)
        assert len((await found(node, key)).attempts) == 1
        await asyncio.sleep(31)
        run = await found(node, key)
        assert run.attempts[0].status is AttemptStatus.UNKNOWN
        assert run.attempts[0].error == "nothing was heard of it for 30 s"
        assert (run.tries, run.unknowns, len(run.attempts)) == (0, 1, 2)


@virtual_time
async def test_silence_fails_the_run_where_the_job_wants_that() -> None:
    async with Node(a_world(taking(heartbeat=30))) as node:
        key = await begun(node, on_unknown="fail")
        await asyncio.sleep(31)
        assert (await found(node, key)).status is Status.FAILED


@virtual_time
async def test_a_cancelled_run_is_told_and_gets_its_grace() -> None:
    async with Node(a_world()) as node:
        key = await begun(node, cancel_grace="20s")
        await node.jobs.cancel(key, namespace="default", by="ann")
        await asyncio.sleep(5)
        assert [key_ for _, key_, _ in node.world.stopped] == [key]
        assert await say(node, key, progress=50) == Standing(execution_id=key, status="running", cancelled=True)
        assert (await found(node, key)).status is Status.RUNNING
        await asyncio.sleep(16)
        assert (await found(node, key)).status is Status.CANCELLED
        with pytest.raises(AttemptEnded) as ended:
            await say(node, key, progress=60)
        assert ended.value.facts["cancelled"] is True


@virtual_time
async def test_a_target_that_reports_how_it_stopped_is_not_waited_for_any_longer() -> None:
    async with Node(a_world()) as node:
        key = await begun(node, cancel_grace="20s")
        await node.jobs.cancel(key, namespace="default", by="ann")
        await asyncio.sleep(1)
        assert (await say(node, key, success=False, message="stopped")).status == "cancelled"
        assert (await found(node, key)).reason == "cancelled"


@virtual_time
async def test_work_that_was_done_before_it_heard_of_the_cancel_is_done() -> None:
    async with Node(a_world()) as node:
        key = await begun(node, cancel_grace="20s")
        await node.jobs.cancel(key, namespace="default", by="ann")
        assert (await say(node, key, success=True)).status == "success"


@virtual_time
async def test_a_newer_run_replaces_the_old_one_only_when_that_has_stopped() -> None:
    async with Node(a_world()) as node:
        key = await begun(node, concurrency="replace", cancel_grace="20s")
        newer = await node.jobs.trigger("nightly", namespace="default", by="ann")
        await asyncio.sleep(10)
        assert (await found(node, newer.id)).status is Status.PENDING
        assert (await say(node, key)).cancelled
        await asyncio.sleep(11)
        assert (await found(node, key)).status is Status.CANCELLED
        assert (await found(node, newer.id)).status is Status.RUNNING


@virtual_time
async def test_the_next_instant_is_skipped_while_the_work_goes_on() -> None:
    world = a_world()
    async with Node(world) as node:
        job = await node.create(schedule="0 * * * * *")
        await world.until(150)
        assert await node.told(job) == [(60, "running"), (120, "overlap")]


@virtual_time
async def test_what_goes_on_survives_a_crash_with_its_slot_and_its_timers() -> None:
    world = a_world(taking(deadline=600, heartbeat=100))
    async with Node(world) as node:
        key = await begun(node)
        await say(node, key, progress=10)
        token = (await found(node, key)).attempts[0].token
        node.crash()
    await asyncio.sleep(300)
    async with Node(world) as node:
        run = await found(node, key)
        assert (run.status, [a.token for a in run.attempts]) == (Status.RUNNING, [token])
        assert node.commands.view.get(SLOTS, run.job_id).holding == (key,)  # type: ignore[union-attr]
        await asyncio.sleep(90)
        assert (await say(node, key, progress=90)).status == "running", "silence counts from the start"
        await asyncio.sleep(90)
        assert (await say(node, key, success=True)).status == "success"
    assert len(world.sent) == 1


@virtual_time
async def test_a_deadline_that_passed_while_the_server_was_down_is_over_at_the_start() -> None:
    world = a_world(taking(deadline=60))
    async with Node(world) as node:
        key = await begun(node, retry_policy={"max_attempts": 1})
        node.crash()
    await asyncio.sleep(300)
    async with Node(world) as node:
        await asyncio.sleep(1)
        assert (await found(node, key)).status is Status.FAILED


@virtual_time
async def test_a_cancel_that_was_asked_for_before_the_crash_is_carried_out_after_it() -> None:
    world = a_world()
    async with Node(world) as node:
        key = await begun(node)
        await node.jobs.cancel(key, namespace="default", by="ann")
        node.crash()
    async with Node(world) as node:
        await asyncio.sleep(11)
        assert (await found(node, key)).status is Status.CANCELLED
    assert [key_ for _, key_, _ in world.stopped][-1] == key


@virtual_time
async def test_a_drain_does_not_wait_for_work_that_goes_on_elsewhere() -> None:
    world = a_world()
    async with Node(world) as node:
        key = await begun(node)
        before = world.now
        await node.scheduler.stop(drain_s=30)
        assert world.now - before < 1
    async with Node(world) as node:
        assert (await say(node, key, success=True)).status == "success"


@virtual_time
async def test_a_result_that_is_faster_than_its_own_answer_counts() -> None:
    world = World()
    answered = asyncio.Event()

    async def slow(delivery: Delivery) -> Outcome:
        await answered.wait()
        return taking()

    world.answers["nightly"] = slow
    async with Node(world) as node:
        key = await begun(node)
        assert (await say(node, key, progress=10)).status == "running"
        assert (await say(node, key, success=True)).status == "success"
        answered.set()
        await asyncio.sleep(1)
        run = await found(node, key)
        assert (run.status, run.notes, len(run.attempts)) == (Status.SUCCESS, (), 1)
        assert run.attempts[0].started_at_us > 0


@virtual_time
async def test_progress_that_came_before_the_answer_stays() -> None:
    world = World()
    answered = asyncio.Event()

    async def slow(delivery: Delivery) -> Outcome:
        await answered.wait()
        return taking()

    world.answers["nightly"] = slow
    async with Node(world) as node:
        key = await begun(node)
        await say(node, key, progress=10, message="early")
        answered.set()
        await asyncio.sleep(1)
        ongoing = (await found(node, key)).attempts[0].ongoing
        assert ongoing is not None
        assert (ongoing.accepted_us > 0, ongoing.progress, ongoing.message) == (True, 10, "early")


@virtual_time
async def test_progress_is_written_once_a_second_and_the_last_of_it_always() -> None:
    async with Node(a_world()) as node:
        written = 0

        def count(events: Any) -> None:
            nonlocal written
            written += sum(event.type is EventType.EXECUTION_PROGRESS for event in events)

        key = await begun(node)
        node.commands.subscribe(count)
        for percent in range(100):
            await say(node, key, progress=percent, message=f"step {percent}")
            await asyncio.sleep(0.03)
        await asyncio.sleep(2)
        ongoing = (await found(node, key)).attempts[0].ongoing
        assert ongoing is not None
        assert (ongoing.progress, ongoing.message) == (99, "step 99")
        assert written <= 6


@virtual_time
async def test_the_last_that_was_said_before_the_result_is_kept() -> None:
    async with Node(a_world()) as node:
        key = await begun(node)
        for percent in range(10, 101, 10):
            await say(node, key, progress=percent)
        await say(node, key, success=True)
        ongoing = (await found(node, key)).attempts[0].ongoing
        assert ongoing is not None
        assert ongoing.progress == 100


@virtual_time
async def test_what_is_reported_is_redacted_and_bounded() -> None:
    world = a_world()
    world.secrets = frozenset({"s3cret-value"})
    async with Node(world) as node:
        key = await begun(node)
        await say(node, key, message="with s3cret-value\x07" + "x" * 3_000)
        ongoing = (await found(node, key)).attempts[0].ongoing
        assert ongoing is not None
        assert ongoing.message.startswith("with ***�xxx")
        assert len(ongoing.message) == 256
        await say(node, key, success=False, message="s3cret-value", output="s3cret-value" * 5_000, retry=False)
        [attempt] = (await found(node, key)).attempts
        assert (attempt.error, set(attempt.excerpt), attempt.body_bytes) == ("***", {"*"}, 60_000)


@virtual_time
async def test_what_cannot_be_redacted_is_not_kept() -> None:
    world = a_world()
    world.secrets = None
    async with Node(world) as node:
        key = await begun(node)
        await say(node, key, progress=5, message="with a secret")
        await say(node, key, success=True, output="with a secret")
        [attempt] = (await found(node, key)).attempts
        assert (attempt.status, attempt.excerpt) == (AttemptStatus.SUCCESS, "on it")
        assert attempt.notes == (
            "what it reported was not kept: the job's secrets cannot be read, so it could not be redacted",
        )
        assert attempt.ongoing is not None
        assert (attempt.ongoing.progress, attempt.ongoing.message) == (5, "")


@virtual_time
async def test_a_result_that_cannot_be_written_may_be_reported_again() -> None:
    async with Node(a_world()) as node:
        key = await begun(node)
        node.commands._full = True
        with pytest.raises(StorageFull):
            await say(node, key, success=True)
        node.commands._full = False
        assert (await say(node, key, success=True)).status == "success"


@virtual_time
async def test_a_run_that_goes_on_counts_as_sent_when_its_job_is_paused() -> None:
    async with Node(a_world()) as node:
        key = await begun(node)
        assert (await node.jobs.pause("nightly", namespace="default", by="ann")).already_sent == [key]
        assert (await say(node, key, success=True)).status == "success"


@virtual_time
async def test_the_work_of_a_job_that_was_deleted_may_end() -> None:
    async with Node(a_world()) as node:
        key = await begun(node)
        await node.jobs.delete("nightly", namespace="default", by="ann")
        assert (await say(node, key, success=True)).status == "success"


@virtual_time
async def test_a_thousand_reports_leave_nothing_behind() -> None:
    async with Node(a_world(taking(heartbeat=3_000))) as node:
        key = await begun(node)
        for n in range(1_000):
            await say(node, key, progress=n % 100)
            await asyncio.sleep(2)
        assert len(node.scheduler.long_runs._heap) <= 2
        assert len(node.scheduler.reports._written) <= 1
        assert not node.scheduler.reports._held


@virtual_time
async def test_a_target_that_answers_at_once_is_done_whatever_the_job_allows() -> None:
    async with Node(a_world(Delivered(Answer(200)))) as node:
        assert (await found(node, await begun(node))).status is Status.SUCCESS


@virtual_time
async def test_a_refusal_after_a_reported_result_is_a_note() -> None:
    world = World()
    answered = asyncio.Event()

    async def slow(delivery: Delivery) -> Outcome:
        await answered.wait()
        return Refused("HTTP 500", "http_status", Answer(500))

    world.answers["nightly"] = slow
    async with Node(world) as node:
        key = await begun(node)
        await say(node, key, success=True)
        answered.set()
        await asyncio.sleep(1)
        run = await found(node, key)
        assert (run.status, run.notes) == (Status.SUCCESS, ("late_result: attempt 1 failed (500)",))
