"""What becomes of attempts when a worker dies, hangs, talks nonsense or is not there. On virtual time."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.unit.dispatch.fakes import Recorder, Reports, a_delivery, us
from tests.unit.dispatch.workers.links import KILLED, MemoryLauncher
from tests.unit.kept import Kept

from chronos.dispatch.breaker import Breakers, BreakerSettings, Verdict
from chronos.dispatch.executor import ExecutorSettings
from chronos.dispatch.port import Delivered, Delivery, Done, Lost, NotSent, Outcome, Refused
from chronos.dispatch.workers import desk, protocol, seat
from chronos.dispatch.workers.pool import PoolSettings, WorkerPool, shard_of
from chronos.dispatch.workers.tally import NOTHING
from chronos.errors import ConfigInvalid, JobInvalid, WorkersFailed
from chronos.frames import FrameReader, decoded
from chronos.model.target import ProcessTarget
from chronos.telemetry import Telemetry
from chronos.testing import VirtualClock, run_virtual, virtual_time


@dataclass
class World:
    """A pool of workers that live in memory."""

    launcher: MemoryLauncher
    pool: WorkerPool
    clock: VirtualClock
    reports: Reports
    recorder: Recorder
    kept: Kept = field(default_factory=Kept)

    def give(self, *execution_ids: str, after_s: float = 0.0, **changes: Any) -> None:
        due_us = us(self.clock, after_s)
        self.pool.submit([a_delivery(key, not_before_us=due_us, **changes) for key in execution_ids])

    @property
    def outcomes(self) -> dict[str, Outcome]:
        assert len(self.reports.all) == len(self.reports.outcomes), "reported twice"
        return self.reports.outcomes


@asynccontextmanager
async def a_pool(
    seconds: float = 100.0, workers: int = 1, *, ready: bool = True, **brought: Any
) -> AsyncIterator[World]:
    clock, reports, kept = VirtualClock(), Reports(), Kept()
    recorder = Recorder(clock, seconds)
    telemetry = Telemetry()
    telemetry.add_sink(kept)
    launcher = MemoryLauncher(brought.pop("deliver", recorder.deliver), clock, **brought)
    limits = PoolSettings(workers=workers, executor=ExecutorSettings(max_concurrent=1_000))
    async with WorkerPool(launcher, lambda: b"tools", reports, clock, limits, telemetry=telemetry) as pool:
        if ready:
            await pool.ready()
        yield World(launcher, pool, clock, reports, recorder, kept)


@virtual_time
async def test_what_a_dead_worker_had_begun_is_unknown_and_what_was_not_due_was_not_sent() -> None:
    async with a_pool() as world:
        world.give("begun")
        world.give("due later", after_s=50)
        await asyncio.sleep(1)
        world.launcher.last.kill()
        await asyncio.sleep(0.01)
        begun, later = world.outcomes["begun"], world.outcomes["due later"]
        assert isinstance(begun, Lost)
        assert begun.reason == "worker process 1 was ended by SIGKILL while this attempt was in flight"
        assert isinstance(later, NotSent)
        assert later.retry_after_s == pytest.approx(49, abs=0.1)
        assert world.pool.in_flight() == 0


@virtual_time
async def test_what_came_due_by_a_clock_that_was_set_back_since_counts_as_begun() -> None:
    async with a_pool() as world:
        world.give("due later", after_s=50)
        await asyncio.sleep(1)
        world.clock.step(3600)
        await asyncio.sleep(0.6)  # one ping says so
        world.clock.step(-3600)
        world.launcher.last.kill()
        await asyncio.sleep(1)
        assert isinstance(world.outcomes["due later"], Lost)


@virtual_time
async def test_a_dead_worker_is_replaced_at_once_and_delivers_what_comes_meanwhile() -> None:
    async with a_pool(seconds=1) as world:
        await asyncio.sleep(20)
        before = world.clock.boottime()
        world.launcher.last.kill()
        world.give("meanwhile")
        await asyncio.sleep(0.001)
        world.give("after")
        await world.pool.ready()
        await asyncio.sleep(1.1)
        assert world.outcomes == {
            "meanwhile": Delivered(world.recorder.outcome.answer),
            "after": world.recorder.outcome,
        }
        assert world.clock.boottime() - before < 1.5
        [state] = world.pool.workers()
        assert (state.is_up, state.restarts, state.in_flight) == (True, 1, 0)
        assert world.kept.of("worker_restarts_total") == [1]


@virtual_time
async def test_results_that_a_worker_had_written_before_it_died_count() -> None:
    async with a_pool(seconds=1) as world:
        world.give("one")
        await asyncio.sleep(1)
        for _ in range(100):
            if b"one" in world.launcher.last.far.written:
                break
            await asyncio.sleep(0)
        assert world.outcomes == {}, "it is on its way"
        world.launcher.last.kill()
        await asyncio.sleep(1)
        assert world.outcomes == {"one": world.recorder.outcome}


@virtual_time
async def test_a_worker_that_hangs_is_replaced_and_one_that_is_slow_is_not() -> None:
    async with a_pool() as world:
        world.give("one")
        await asyncio.sleep(1)
        world.launcher.last.hang()
        await asyncio.sleep(seat.HUNG_S - 2)
        world.launcher.last.go_on()
        await asyncio.sleep(60)
        assert world.outcomes == {}
        assert len(world.launcher.workers[1]) == 1
        world.launcher.last.hang()
        await asyncio.sleep(seat.HUNG_S + 2)
        assert len(world.launcher.workers[1]) == 2
        assert world.launcher.workers[1][0].code == KILLED
        assert world.outcomes == {
            "one": Lost("worker process 1 said nothing for 10 s while this attempt was in flight")
        }


@virtual_time
async def test_a_machine_that_slept_does_not_take_its_workers_for_dead() -> None:
    async with a_pool() as world:
        await asyncio.sleep(1)
        world.launcher.last.hang()
        for _ in range(60):  # in between, neither of us got to run
            world.clock.suspend(60)
            await asyncio.sleep(0.5)
        assert len(world.launcher.workers[1]) == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"\x00\x00\x00\x00", "a frame says that it has 0 bytes"),
        (b"\xff\xff\xff\xffgarbage", "a frame says that it has 4294967295 bytes"),
        (struct.pack("<I", 7) + b"garbage", "a frame cannot be read"),
        (protocol.framed(protocol.Ping(0.0)), "a frame cannot be read"),
    ],
    ids=["empty", "endless", "garbage", "not for main"],
)
def test_a_worker_that_talks_nonsense_is_replaced(said: bytes, why: str) -> None:
    async def scenario() -> None:
        async with a_pool() as world:
            world.give("one")
            await asyncio.sleep(1)
            world.launcher.last.garble(said)
            await asyncio.sleep(0.1)
            assert world.pool.workers()[0].restarts == 1
            outcome = world.outcomes["one"]
            assert isinstance(outcome, Lost)
            assert why in outcome.reason

    run_virtual(scenario)


@virtual_time
async def test_a_worker_that_ends_in_the_middle_of_a_frame_is_replaced_and_the_half_is_forgotten() -> None:
    async with a_pool() as world:
        world.give("one")
        await asyncio.sleep(1)
        world.launcher.last.garble(struct.pack("<I", 1_000) + b"half")
        await asyncio.sleep(0.1)
        assert world.pool.workers()[0].restarts == 0
        world.launcher.last.kill()
        await asyncio.sleep(0.1)
        assert world.pool.workers()[0].restarts == 1
        assert isinstance(world.outcomes["one"], Lost)
        world.give("two", after_s=1)
        await asyncio.sleep(0.5)
        assert world.pool.in_flight() == 1


@virtual_time
async def test_what_nobody_was_given_is_not_reported_whoever_says_so() -> None:
    async with a_pool(seconds=1) as world:
        never = Done("never", 1, Delivered(), 0, 0)
        world.launcher.last.garble(protocol.framed(protocol.Ended([never], 0, NOTHING)))
        world.give("one")
        await asyncio.sleep(2)
        assert world.outcomes.keys() == {"one"}
        assert world.pool.in_flight() == 0


# Recall.


@virtual_time
async def test_a_recall_that_a_death_overtakes_is_answered_and_never_as_dropped() -> None:
    async with a_pool() as world:
        world.give("running")
        world.give("held", after_s=50)
        await asyncio.sleep(1)
        world.launcher.last.hang()
        recall = asyncio.create_task(world.pool.recall(["running", "held", "never"]))
        await asyncio.sleep(1)
        world.launcher.last.kill()
        assert await recall == {"running": "sent", "held": "unknown", "never": "unknown"}
        assert {key: type(outcome) for key, outcome in world.outcomes.items()} == {"running": Lost, "held": NotSent}


@virtual_time
async def test_a_recall_without_an_answer_counts_as_sent_and_what_is_dropped_late_comes_back() -> None:
    async with a_pool() as world:
        world.give("held", after_s=50)
        await asyncio.sleep(1)
        world.launcher.last.hang()
        assert await world.pool.recall(["held"]) == {"held": "sent"}
        world.launcher.last.go_on()
        await asyncio.sleep(0.1)
        assert world.outcomes == {"held": NotSent("recalled")}
        assert world.pool.in_flight() == 0


@virtual_time
async def test_what_is_dropped_for_somebody_who_has_left_comes_back() -> None:
    async with a_pool() as world:
        world.give("held", after_s=50)
        await asyncio.sleep(1)
        world.launcher.last.hang()
        recall = asyncio.create_task(world.pool.recall(["held"]))
        await asyncio.sleep(1)
        recall.cancel()
        await asyncio.sleep(0)
        assert world.pool.in_flight() == 1
        world.launcher.last.go_on()
        await asyncio.sleep(1)
        assert world.outcomes == {"held": NotSent("recalled")}


@virtual_time
async def test_what_waits_for_a_worker_is_recalled_without_it() -> None:
    async with a_pool(ready=False) as world:
        world.give("one", "two")
        assert await world.pool.recall(["one"]) == {"one": "dropped"}
        await world.pool.cancel(["two"])
        await asyncio.sleep(1)
        assert world.outcomes == {"two": NotSent("recalled")}
        assert world.recorder.order == []


# Nobody there.


@virtual_time
async def test_what_waits_for_a_worker_that_does_not_come_is_given_back_in_time() -> None:
    async with a_pool(seconds=1) as world:
        await asyncio.sleep(20)
        world.launcher.fails = 8
        world.launcher.last.kill()
        await asyncio.sleep(0.1)
        world.give("waits")
        await asyncio.sleep(seat.AWAY_S)
        assert world.outcomes == {"waits": NotSent("capacity", retry_after_s=1.0)}
        world.give("comes")
        await asyncio.sleep(0)
        assert world.outcomes["comes"] == NotSent("capacity", retry_after_s=1.0)
        await asyncio.sleep(20)
        world.give("later")
        await asyncio.sleep(2)
        assert world.outcomes["later"] == world.recorder.outcome


@virtual_time
async def test_what_waits_beyond_the_bound_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat, "WAITING_MAX", 3)
    async with a_pool(seconds=1) as world:
        channel = world.launcher.near[1].protocol
        channel.pause_writing()
        world.give("1", "2", "3", "4", "5")
        await asyncio.sleep(1)
        assert world.outcomes == dict.fromkeys(["4", "5"], NotSent("capacity", retry_after_s=1.0))
        assert world.recorder.order == []
        channel.resume_writing()
        await asyncio.sleep(2)
        assert world.recorder.order == ["1", "2", "3"]


@virtual_time
async def test_workers_that_die_young_one_after_the_other_are_given_up_with_a_reason() -> None:
    async with a_pool() as world:

        async def kill_all() -> None:
            while True:
                await asyncio.sleep(0.2)
                world.launcher.last.kill()

        killing = asyncio.create_task(kill_all())
        with pytest.raises(WorkersFailed, match=r"Worker process 1 died 20 times in a row; the last one was ended by"):
            await world.pool.failure()
        killing.cancel()
        assert len(world.launcher.workers[1]) == seat.DEATHS_MAX


@virtual_time
async def test_workers_that_never_come_up_are_given_up_soon() -> None:
    async with a_pool(ready=False) as world:
        world.launcher.fails = 100
        with pytest.raises(WorkersFailed, match="Resource temporarily unavailable"):
            await world.pool.ready()


@virtual_time
async def test_a_worker_that_cannot_use_what_it_was_handed_says_why() -> None:
    def refuse(handover: bytes) -> None:
        raise JobInvalid(f"{handover.decode()} do not fit")

    async with a_pool(ready=False, on_equip=refuse) as world:
        with pytest.raises(ConfigInvalid, match="A worker process cannot deliver: tools do not fit"):
            await world.pool.ready()
        assert len(world.launcher.workers[1]) == 1


@virtual_time
async def test_a_worker_of_another_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat, "VERSION", 3)
    async with a_pool(ready=False) as world:
        with pytest.raises(ConfigInvalid, match="version 2 of the protocol, the server 3; restart the server"):
            await world.pool.ready()


@virtual_time
async def test_a_pool_that_is_left_while_its_worker_hangs_ends_all_the_same() -> None:
    async with a_pool() as world:
        world.give("one")
        await asyncio.sleep(1)
        world.launcher.last.hang()
        began = world.clock.boottime()
    assert isinstance(world.outcomes["one"], Lost)
    assert world.clock.boottime() - began < 30
    assert world.launcher.workers[1][0].code == KILLED


@virtual_time
async def test_a_pool_that_is_entered_again_starts_nobody_twice_and_ends_with_the_first_who_leaves() -> None:
    async with a_pool() as world:
        async with world.pool:
            await asyncio.sleep(1)
        assert len(world.launcher.workers[1]) == 1
        assert [state.is_up for state in world.pool.workers()] == [False]


@virtual_time
async def test_a_pool_may_be_left_unentered_and_left_twice() -> None:
    clock = VirtualClock()
    pool = WorkerPool(MemoryLauncher(Recorder(clock).deliver, clock), lambda: b"", Reports(), clock)
    await pool.__aexit__(None, None, None)
    async with pool:
        await pool.ready()
    await pool.__aexit__(None, None, None)
    assert [state.is_up for state in pool.workers()] == [False]


# Frames.


@virtual_time
async def test_what_ends_within_a_moment_is_told_together_and_what_ends_alone_at_once() -> None:
    async with a_pool(seconds=0) as world:
        world.give("alone", after_s=1)
        for n in range(100):
            world.give(f"occ_{n}", after_s=2 + n * 0.0001)
        await asyncio.sleep(1.0005)
        assert world.outcomes.keys() == {"alone"}
        await asyncio.sleep(2)
        assert len(world.outcomes) == 101
        assert len(world.reports.batches) <= 8


@virtual_time
async def test_what_has_ended_is_told_before_a_recall_is_answered() -> None:
    async with a_pool(seconds=0.0005) as world:
        world.give("first")
        world.give("second", after_s=0.001)
        world.give("held", after_s=50)
        await asyncio.sleep(0.002)  # the first was told, the second has ended and waits for more
        assert await world.pool.recall(["second", "held"]) == {"second": "sent", "held": "dropped"}
        assert world.outcomes.keys() == {"first", "second"}


@virtual_time
async def test_what_came_on_one_turn_travels_in_one_frame() -> None:
    async with a_pool(seconds=1) as world:
        near = world.launcher.near[1]
        del near.written[:]
        world.give(*(str(n) for n in range(50)))
        world.give(*(str(n) for n in range(50, 100)))
        await asyncio.sleep(0.1)
        [frame] = FrameReader(protocol.FRAME_BYTES_MAX).feed(bytes(near.written))
        message = protocol.to_worker.decode(frame)
        assert isinstance(message, protocol.Taken)
        assert len(message.deliveries) == 100
        await asyncio.sleep(2)
        assert [len(batch) for batch in world.reports.batches] == [100]


@virtual_time
async def test_a_batch_too_large_for_a_frame_is_cut_and_a_delivery_too_large_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "FRAME_BYTES_MAX", 5_000)
    async with a_pool(seconds=1) as world:
        world.give(*(str(n) for n in range(40)))
        world.give("fat", job_name="x" * 6_000)
        await asyncio.sleep(2)
        refused = world.outcomes.pop("fat")
        assert isinstance(refused, Refused)
        assert refused.error_class == "too_large"
        assert refused.permanent
        assert len(world.recorder.order) == 40


@pytest.mark.parametrize("seed", range(5))
def test_frames_arrive_whole_however_they_are_cut(seed: int) -> None:
    draw = random.Random(seed)
    messages: list[protocol.ToWorker] = [protocol.Drain(draw.random() * 10**6) for _ in range(50)]
    stream = b"".join(map(protocol.framed, messages))
    reader, seen = FrameReader(protocol.FRAME_BYTES_MAX), []
    while stream:
        cut = draw.randrange(1, 40)
        seen += reader.feed(stream[:cut])
        stream = stream[cut:]
    assert [decoded(protocol.to_worker, frame) for frame in seen] == messages


# Several workers.


def test_deliveries_to_one_host_of_a_namespace_go_to_one_worker() -> None:
    one = a_delivery("a", url="https://shop.test/orders?x={{.JobID}}")
    assert shard_of(one) == shard_of(a_delivery("b", url="https://shop.test/invoices", job_id="other"))
    assert shard_of(one) != shard_of(a_delivery("a", url="https://shop.test/orders", namespace="other"))
    shards = {shard_of(a_delivery("a", url=f"https://{n}.test/")) % 4 for n in range(100)}
    assert shards == {0, 1, 2, 3}
    program = a_delivery("a", target=ProcessTarget(argv=["true"]))
    assert shard_of(program) == shard_of(a_delivery("b", target=ProcessTarget(argv=["false"])))


@virtual_time
async def test_the_death_of_one_worker_is_nothing_to_the_others() -> None:
    async with a_pool(workers=3) as world:
        urls = [f"http://{n}.test/" for n in range(30)]
        world.pool.submit([a_delivery(url, url=url) for url in urls])
        await asyncio.sleep(1)
        had = {state.number: state.in_flight for state in world.pool.workers()}
        assert all(had.values())
        world.launcher.workers[2][0].kill()
        await asyncio.sleep(1)
        assert len(world.outcomes) == had[2]
        assert world.pool.in_flight() == had[1] + had[3]
        assert world.pool.running == had[1] + had[3]


# Breakers.


@virtual_time
async def test_breakers_can_be_seen_and_closed_where_they_are() -> None:
    breakers = Breakers(BreakerSettings(failures=1))
    async with a_pool(breakers=breakers) as world:
        ticket = breakers.admit("default", "shop.test", 0.0)
        assert not isinstance(ticket, float)
        breakers.record(ticket, Verdict.FAILED, world.clock.boottime())
        [one] = await world.pool.breakers()
        assert (one.host, one.state.value) == ("shop.test", "open")
        assert not await world.pool.reset_breaker("default", "other.test")
        assert await world.pool.reset_breaker("default", "shop.test")
        assert await world.pool.breakers() == []


@virtual_time
async def test_breakers_of_a_worker_that_does_not_answer_are_not_made_up() -> None:
    async with a_pool() as world:
        world.launcher.last.hang()
        with pytest.raises(WorkersFailed):
            await world.pool.breakers()
        world.launcher.last.kill()
        await asyncio.sleep(0)


# Everything at once.


@pytest.mark.parametrize("seed", range(30))
def test_every_attempt_is_reported_once_or_recalled_whoever_dies(seed: int) -> None:
    """Random submissions, recalls, cancels, kills, hangs and a drain, on every order of events the seed draws."""
    draw = random.Random(seed)

    async def scenario() -> None:
        ended: set[str] = set()

        async def deliver(delivery: Delivery) -> Outcome:
            await asyncio.sleep(draw.random() * 3)
            ended.add(delivery.execution_id)
            return Delivered()

        dropped: set[str] = set()
        given: set[str] = set()
        async with a_pool(workers=2, deliver=deliver, chance=draw) as world:
            for step in range(60):
                ids = [f"{step}.{n}" for n in range(draw.randrange(5))]
                for key in ids:
                    world.give(key, after_s=draw.random() * 2, url=f"http://{draw.randrange(9)}.test/")
                given.update(ids)
                some = draw.sample(sorted(given), min(len(given), 3))
                if draw.random() < 0.3:
                    answers = await world.pool.recall(some)
                    dropped |= {i for i, answer in answers.items() if answer == "dropped"}
                if draw.random() < 0.2:
                    await world.pool.cancel(some)
                if draw.random() < 0.1:
                    world.launcher.workers[draw.choice([1, 2])][-1].kill()
                if draw.random() < 0.03:
                    world.launcher.workers[draw.choice([1, 2])][-1].hang()
                await asyncio.sleep(draw.random() * 0.5)
            await world.pool.drain(draw.random() * 2)
            assert world.pool.in_flight() == 0
            reported = world.outcomes
            assert set(reported) | dropped == given
            assert not set(reported) & dropped
            not_sent = {key for key, outcome in reported.items() if isinstance(outcome, NotSent)}
            assert not (not_sent | dropped) & ended, "said not to be sent, and was"

    run_virtual(scenario, seed=seed)


def test_the_waits_are_bounded_in_the_right_order() -> None:
    assert seat.PING_S < seat.AWAY_S < seat.HUNG_S < seat.START_S
    assert desk.ANSWER_S < seat.HUNG_S
