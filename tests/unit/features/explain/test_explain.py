"""What a whole node has written down, explained: the log, the fold and the scheduler are the product's own."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import msgspec
import pytest
from tests.unit.scheduler.harness import BEGIN, BEGIN_S, Node, World, lasting

from chronos.dispatch.port import Delivered, Delivery, NotSent, Outcome, Refused
from chronos.errors import JobNotFound, Unprocessable
from chronos.features.explain.model import Explanation, FactKind, Reason
from chronos.features.explain.service import Explainer
from chronos.features.explain.verdict import id_of
from chronos.model.execution import RangeRecord
from chronos.scheduler.evidence import Evidence, Progress
from chronos.store.commands import PutDocument
from chronos.testing import virtual_time
from chronos.timing.calendar import CalendarRules
from chronos.timing.clock import utc


def at(second: float) -> str:
    return utc(BEGIN_S + second).isoformat()


async def why(node: Node, second: float, job: str = "nightly") -> Explanation:
    return await explainer(node).explain(job, "default", at(second))


def explainer(node: Node) -> Explainer:
    def progress() -> Progress:
        return Progress(now_us=node.scheduler.now_us, shard=node.scheduler.shard)

    evidence = Evidence(node.queries, node.commands.view, progress)
    return Explainer(node.jobs, lambda: evidence)


async def busy(delivery: Delivery) -> Outcome:
    await asyncio.sleep(15)
    return Delivered()


@virtual_time
async def test_a_run_on_time_and_one_to_come() -> None:
    world = World()
    async with Node(world) as node:
        job = await node.create(schedule="*/10 * * * * *")
        await world.until(25)
        ran = await why(node, 20)
        assert (ran.reason, ran.version, ran.is_instant) == (Reason.ON_TIME, 1, True)
        assert ran.record_id == ran.execution_id
        assert await node.queries.execution(ran.record_id) is not None
        assert (ran.before and ran.before.became, ran.after and ran.after.became) == ("success", "")
        assert (await why(node, 40)).reason is Reason.WILL_RUN
        assert (await why(node, 21)).reason is Reason.NOT_DUE
        assert (await explainer(node).explain(job.id[:12], "default", "")).at == BEGIN + timedelta(seconds=20)


@virtual_time
async def test_overlap_names_the_run_that_was_in_the_way() -> None:
    world = World()
    world.answers["nightly"] = busy
    async with Node(world) as node:
        await node.create(schedule="*/10 * * * * *")
        await world.until(12)
        holder = (await why(node, 10)).execution_id
        assert (await why(node, 10)).reason is Reason.RUNNING
        await world.until(22)
        skipped = await why(node, 20)
        assert skipped.reason is Reason.OVERLAP
        assert skipped.record_id.startswith("rng_")
        assert holder in {fact.record_id for fact in skipped.facts if fact.kind is FactKind.OVERLAP}


@virtual_time
async def test_the_queue_the_breaker_and_the_jitter_are_told_while_they_last() -> None:
    world = World()
    world.answers["queued"] = busy

    async def breaker(delivery: Delivery) -> Outcome:
        return NotSent("breaker", 30.0)

    world.answers["broken"] = breaker
    async with Node(world) as node:
        await node.create("queued", "*/10 * * * * *", concurrency="queue")
        await node.create("broken", "*/10 * * * * *")
        await node.create("spread", "*/10 * * * * *", jitter="9s")
        await world.until(10.1)
        waits = await why(node, 10, "spread")
        assert waits.reason in (Reason.WAITING_JITTER, Reason.ON_TIME)
        await world.until(21)
        assert (await why(node, 20, "queued")).reason is Reason.WAITING_SLOT
        assert (await why(node, 10, "broken")).reason is Reason.WAITING_BREAKER
        assert [f for f in (await why(node, 10, "broken")).facts if f.kind is FactKind.WAIT]


@virtual_time
async def test_superseded_runs_name_the_newer_one() -> None:
    world = World()
    world.answers["nightly"] = busy
    async with Node(world) as node:
        await node.create(schedule="*/10 * * * * *", concurrency="replace")
        await world.until(25)
        old, new = await why(node, 10), await why(node, 20)
        assert old.reason is Reason.SUPERSEDED
        assert new.execution_id in old.verdict


@virtual_time
async def test_retries_and_the_dead_letter_they_end_in() -> None:
    world = World()

    async def refuse(delivery: Delivery) -> Outcome:
        return Refused("HTTP 503", "http_status")

    world.answers["nightly"] = refuse
    async with Node(world) as node:
        await node.create(schedule="0 * * * * *", retry_policy={"max_attempts": 2, "initial_interval": "5s"})
        await world.until(60.5)
        assert (await why(node, 60)).reason is Reason.RETRYING
        await world.until(80)
        dead = await why(node, 60)
        assert dead.reason is Reason.FAILED
        assert len([fact for fact in dead.facts if fact.kind is FactKind.ATTEMPT]) == 2
        del world.answers["nightly"]
        await node.jobs.redrive([dead.record_id], namespace="default", by="bob")
        await world.until(90)
        again = await why(node, 60)
        assert again.reason is Reason.RETRIED
        assert "by bob" in next(fact.text for fact in again.facts if fact.kind is FactKind.DECISION)


@virtual_time
async def test_an_outage_is_told_by_policy() -> None:
    world = World()
    async with Node(world) as node:
        await node.create("one", "*/10 * * * * *")
        await node.create("all", "*/10 * * * * *", missed_run_policy="execute_all", max_catchup=2)
        await node.create("none", "*/10 * * * * *", missed_run_policy="ignore")
        await node.create("short", "*/10 * * * * *", missed_run_policy="ignore", catchup_window="1m")
        await world.until(5)
    await world.until(305)
    async with Node(world) as node:
        await world.until(330)
        coalesced, into = await why(node, 100, "one"), (await why(node, 290, "one"))
        assert (coalesced.reason, into.reason) == (Reason.COALESCED, Reason.LATE)
        assert into.record_id in {fact.record_id for fact in coalesced.facts}
        assert [(await why(node, s, "all")).reason for s in (10, 20, 30)] == [Reason.LATE, Reason.LATE, Reason.MISFIRE]
        assert (await why(node, 100, "none")).reason is Reason.MISFIRE
        assert (await why(node, 100, "short")).reason is Reason.EXPIRED


@virtual_time
async def test_a_pause_is_told_while_it_lasts_and_afterwards() -> None:
    world = World()
    async with Node(world) as node:
        await node.create(schedule="*/10 * * * * *")
        await world.until(15)
        await node.jobs.pause("nightly", namespace="default", by="bob", reason="maintenance")
        await world.until(45)
        during = await why(node, 30)
        assert (during.reason, during.record_id, during.version) == (Reason.PAUSED, "", 2)
        assert "bob" in during.verdict
        assert "maintenance" in during.verdict
        assert (await why(node, 10)).version == 1
        await node.jobs.resume("nightly", namespace="default", by="ann")
        await world.until(55)
        after = await why(node, 30)
        assert after.reason is Reason.PAUSED
        assert after.record_id.startswith("rng_")
        assert (await why(node, 50)).reason is Reason.ON_TIME


@virtual_time
async def test_after_an_edit_the_answer_for_an_older_instant_names_the_older_version() -> None:
    world = World()
    async with Node(world) as node:
        await node.create(schedule="*/10 * * * * *")
        await world.until(25)
        await node.put(schedule="5/10 * * * * *")
        await world.until(42)
        old, new, gone = await why(node, 20), await why(node, 35), await why(node, 40)
        assert [(a.reason, a.version) for a in (old, new, gone)] == [
            (Reason.ON_TIME, 1), (Reason.ON_TIME, 2), (Reason.NOT_DUE, 2),
        ]  # fmt: skip
        assert "*/10" in next(fact.text for fact in old.facts if fact.kind is FactKind.SCHEDULE)


@virtual_time
async def test_a_deleted_job_still_answers_by_its_name_and_its_namesake_for_itself() -> None:
    world = World()
    async with Node(world) as node:
        first = await node.create(schedule="*/10 * * * * *")
        await world.until(15)
        await node.jobs.delete("nightly", namespace="default", by="bob")
        await world.until(25)
        assert (await why(node, 10)).reason is Reason.ON_TIME
        assert (await why(node, 20)).reason is Reason.DELETED
        assert (await why(node, 20, first.id)).reason is Reason.DELETED
        second = await node.create(schedule="*/10 * * * * *")
        await world.until(35)
        assert (await why(node, 10)).job_id == first.id
        assert (await why(node, 30)).job_id == second.id
        with pytest.raises(JobNotFound):
            await why(node, 10, "another")


@virtual_time
async def test_a_wall_time_without_an_offset_is_read_in_the_jobs_zone() -> None:
    world = World()
    async with Node(world) as node:
        await node.create("paris", "30 2 * * *", timezone="Europe/Paris")
        ask = explainer(node)
        plain = await ask.explain("paris", "default", "2027-06-01 02:30")
        assert (plain.at.isoformat(), plain.reason) == ("2027-06-01T00:30:00+00:00", Reason.WILL_RUN)
        gap = await ask.explain("paris", "default", "2027-03-28T02:30:00")
        assert (gap.local, gap.reason) == ("2027-03-28 03:00:00+02:00", Reason.WILL_RUN)
        assert "does not exist" in gap.facts[0].text
        twice = await ask.explain("paris", "default", "2027-10-31 02:30")
        assert "happens twice" in twice.facts[0].text
        assert twice.at.isoformat() == "2027-10-31T00:30:00+00:00"


@pytest.mark.parametrize("text", ["yesterday", "2027-13-01", "0001-01-01T00:00:00", "9999-01-01T00:00:00Z"])
@virtual_time
async def test_what_is_no_instant_is_refused_with_what_to_write(text: str) -> None:
    world = World()
    async with Node(world) as node:
        await node.create()
        with pytest.raises(Unprocessable) as refused:
            await explainer(node).explain("nightly", "default", text)
        assert refused.value.facts["field"] == "at"


@virtual_time
async def test_a_job_that_runs_after_others_has_no_instants_and_explains_its_runs() -> None:
    world = World()
    async with Node(world) as node:
        await node.create("first", "*/10 * * * * *")
        await node.create("second", None, dependencies={"depends_on": ["first"]})  # type: ignore[arg-type]
        answer = await explainer(node).explain("second", "default", "")
        assert (answer.reason, answer.before, answer.after) == (Reason.NO_SCHEDULE, None, None)
        await world.until(5)
        run = await node.jobs.trigger("second", namespace="default", by="bob")
        await world.until(8)
        by_hand = await explainer(node).explain("second", "default", "")
        assert (by_hand.reason, by_hand.record_id) == (Reason.ON_TIME, run.id)


@virtual_time
async def test_a_calendar_answers_as_it_was_at_the_instant() -> None:
    world = World()

    async def write(*exclude: str) -> None:
        rules = msgspec.json.encode(CalendarRules(exclude=exclude))
        await node.commands.propose(PutDocument("calendars", "default", "feast", rules, "ann", -1, True))

    async with Node(world) as node:
        await write("2027-01-01")
        await node.create(schedule="*/10 * * * * *", calendar="feast")
        await world.until(25)
        await write("2027-01-02")
        await world.until(45)
        left_out, ran = await why(node, 20), await why(node, 40)
        assert (left_out.reason, ran.reason) == (Reason.BLACKOUT, Reason.ON_TIME)
        told = [[fact.text for fact in a.facts if fact.kind is FactKind.CALENDAR] for a in (left_out, ran)]
        assert "leaves it out" in told[0][0]
        assert "lets it through" in told[1][0]


@virtual_time
async def test_every_second_of_an_eventful_life_is_explained_by_its_record_and_none_has_no_record() -> None:
    world = World(seed=3)
    world.answers["nightly"] = lasting(2.5)
    async with Node(world) as node:
        job = await node.create(schedule="* * * * * *")
        await world.until(20)
        await node.put(schedule="*/2 * * * * *", concurrency="queue")
        await world.until(40)
        await node.jobs.pause("nightly", namespace="default", by="bob")
        await world.until(60)
        await node.jobs.resume("nightly", namespace="default", by="bob")
        await world.until(80)
        await node.put(schedule="*/3 * * * * *", concurrency="replace")
        await world.until(100)
    await world.until(200)
    async with Node(world) as node:
        await world.until(230)
        records = {id_of(record): record for record in await node.records(job)}
        told = dict(await node.told(job))
        words: Counter[Reason] = Counter()
        for second in range(1, 221):
            answer = await why(node, second)
            words[answer.reason] += 1
            if not answer.is_instant:
                assert answer.reason is Reason.NOT_DUE, (second, answer.verdict)
                assert answer.record_id == ""
                continue
            record = records[answer.record_id]
            assert answer.version > 0
            if isinstance(record, RangeRecord):
                assert record.first_s <= BEGIN_S + second <= record.last_s
                assert answer.reason.value == record.reason.value
            else:
                assert record.scheduled_s == BEGIN_S + second
                assert record.status.value == told[second]
        assert Reason.NO_RECORD not in words
        assert {Reason.OVERLAP, Reason.PAUSED, Reason.COALESCED, Reason.SUPERSEDED, Reason.NOT_DUE} <= set(words)


@pytest.mark.parametrize(
    "text",
    ["1970-01-01T00:00:00Z", "1970-01-01", "1970-01-03", "2499-12-31T23:59:59Z", "2499-12-31T23:59:59", "2499-12-30"],
)
@virtual_time
async def test_the_ends_of_time_are_answered(text: str) -> None:
    world = World()
    async with Node(world) as node:
        for zone in ("UTC", "America/New_York", "Pacific/Apia", "Asia/Kolkata"):
            job = await node.create(zone.replace("/", "-"), "0 9 * * *", timezone=zone)
            answer = await explainer(node).explain(job.id, "default", text)
            assert answer.reason in (Reason.NOT_CREATED_YET, Reason.NOT_DUE, Reason.WILL_RUN)
