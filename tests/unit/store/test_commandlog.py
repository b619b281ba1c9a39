from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from tests.unit.kept import Kept
from tests.unit.store.toy import put, toy_fold

from chronos.cluster.memory import MemoryLog, SharedLog
from chronos.errors import (
    Draining,
    Invalid,
    LogDamaged,
    LogFailed,
    Overloaded,
    SnapshotNeeded,
    StorageFull,
    Unavailable,
    VersionConflict,
)
from chronos.model.events import Event, EventType
from chronos.store import commandlog
from chronos.store.commandlog import CommandLog, CommandLogSettings
from chronos.store.commands import Command, DeleteJob, LogEntry, NewLeader, PutDocument, decode_entry
from chronos.store.entryfold import one_step_each
from chronos.store.port import At, Changes, View
from chronos.store.state import MemoryState
from chronos.store.steps import Step
from chronos.store.tables import DOCUMENTS, META, document_key
from chronos.telemetry import Telemetry
from chronos.testing import virtual_time
from chronos.testing.virtual_time import VirtualClock
from chronos.timing.clock import SeededChance


def a_command_log(log: Any, state: Any = None, clock: Any = None, **settings: Any) -> CommandLog:
    return CommandLog(
        log,
        state or MemoryState(),
        clock or VirtualClock(),
        SeededChance(random.Random(1)),
        settings=CommandLogSettings(**settings),
        fold=one_step_each(toy_fold),
    )


async def started(log: Any, state: Any = None, clock: Any = None, **settings: Any) -> CommandLog:
    commands = a_command_log(log, state, clock, **settings)
    await commands.start("n1", "n1-1")
    return commands


async def entries(log: MemoryLog, frm: int = 1) -> list[LogEntry]:
    return [decode_entry(row.data) async for row in log.tail(frm)]


def keys(entry: LogEntry) -> list[str]:
    return [command.key for command in entry.commands if isinstance(command, PutDocument)]


class FailingLog(MemoryLog):
    """A log whose next append ends in the error it was given."""

    error: Exception | None = None

    async def append(self, index: int, data: bytes, epoch: Any) -> None:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        await super().append(index, data, epoch)


@virtual_time
async def test_the_boot_record_is_the_first_entry() -> None:
    log = MemoryLog()
    commands = await started(log)
    assert [type(c).__name__ for c in (await entries(log))[0].commands] == ["NewLeader"]
    assert commands.applied == 1
    meta = commands.view.get(META, "meta")
    assert meta is not None
    assert (meta.term, meta.leader) == (1, "n1")
    await commands.stop()


@virtual_time
async def test_nothing_is_accepted_before_the_boot_record_is_durable() -> None:
    commands = a_command_log(MemoryLog(latency=lambda: 5.0))
    starting = asyncio.create_task(commands.start("n1", "n1-1"))
    await asyncio.sleep(1)
    with pytest.raises(Unavailable, match="starting"):
        commands.submit([put("a")])
    await starting
    assert (await commands.propose(put("a"))).ok
    await commands.stop()


@virtual_time
async def test_what_is_proposed_is_answered_with_what_was_written() -> None:
    commands = await started(MemoryLog())
    result = await commands.propose(put("a", b"1"))
    assert (result.value.value, result.value.revision) == (b"1", 1)
    document = commands.view.get(DOCUMENTS, document_key("toy", "default", "a"))
    assert document == result.value
    await commands.stop()


@virtual_time
async def test_a_refusal_is_raised_as_the_error_it_names() -> None:
    commands = await started(MemoryLog())
    with pytest.raises(VersionConflict, match="moved on") as caught:
        await commands.propose(put("a", expect_revision=7))
    assert caught.value.facts == {"revision": 0}
    [result] = await commands.submit([put("a", expect_revision=7)])
    assert result.error == "version-conflict"
    await commands.stop()


@virtual_time
async def test_what_comes_in_while_an_entry_is_on_its_way_travels_in_the_next_one() -> None:
    log = MemoryLog(latency=lambda: 1.0)
    commands = await started(log)
    first = commands.submit([put("a")])
    await asyncio.sleep(0.5)
    rest = [commands.submit([put(key)]) for key in "bcd"]
    await asyncio.gather(first, *rest)
    assert [keys(entry) for entry in await entries(log, 2)] == [["a"], ["b", "c", "d"]]
    assert asyncio.get_running_loop().time() == 3.0
    await commands.stop()


@virtual_time
async def test_the_order_of_submitting_is_the_order_in_the_log() -> None:
    log = MemoryLog(latency=lambda: 0.001)
    commands = await started(log, entry_commands=7)
    chance = random.Random(5)
    names = [f"{n:03d}" for n in range(200)]
    answers = []
    for at, name in enumerate(names):
        answers.append(commands.submit([put(name)]))
        if chance.random() < 0.1:
            await asyncio.sleep(at % 3 / 1000)
    await asyncio.gather(*answers)
    written = [keys(entry) for entry in await entries(log, 2)]
    assert [name for entry in written for name in entry] == names
    assert max(map(len, written)) == 7
    await commands.stop()


@virtual_time
async def test_what_is_submitted_together_stays_in_one_entry_however_big() -> None:
    log = MemoryLog()
    commands = await started(log, entry_commands=2, entry_bytes=100)
    together = commands.submit([put(key, bytes(60)) for key in "abc"])
    alone = commands.submit([put("d")])
    assert [result.ok for result in await together] == [True] * 3
    await alone
    assert [keys(entry) for entry in await entries(log, 2)] == [["a", "b", "c"], ["d"]]
    await commands.stop()


@virtual_time
async def test_an_entry_is_closed_at_its_size() -> None:
    log = MemoryLog(latency=lambda: 1.0)
    commands = await started(log, entry_bytes=1_000)
    answers = [commands.submit([put(key, bytes(400))]) for key in "abcd"]
    await asyncio.gather(*answers)
    assert [keys(entry) for entry in await entries(log, 2)] == [["a", "b"], ["c", "d"]]
    await commands.stop()


@virtual_time
async def test_a_command_sees_what_the_one_before_it_in_the_entry_has_changed() -> None:
    commands = await started(MemoryLog())
    results = await commands.submit([put("a"), put("a", expect_revision=1), put("a", expect_revision=1)])
    assert [result.error for result in results] == ["", "", "version-conflict"]
    await commands.stop()


@virtual_time
async def test_log_time_never_runs_back() -> None:
    class Clock:
        now = 1_000.0

        def time(self) -> float:
            return self.now

        def boottime(self) -> float:
            return 0.0

    clock, log = Clock(), MemoryLog()
    commands = await started(log, clock=clock)
    for now in (1_001.5, 900.0, 1_001.0, 1_002.0):
        clock.now = now
        await commands.propose(put("a"))
    times = [entry.time_us for entry in await entries(log)]
    assert times == [1_000_000_000, 1_001_500_000, 1_001_500_000, 1_001_500_000, 1_002_000_000]
    assert commands.time_us == times[-1]
    await commands.stop()


@virtual_time
async def test_log_time_does_not_run_back_over_a_restart() -> None:
    class Clock(VirtualClock):
        def time(self) -> float:
            return 1.0

    shared = SharedLog()
    commands = await started(MemoryLog(shared))
    before = commands.time_us
    await commands.stop()
    again = await started(MemoryLog(shared), clock=Clock())
    assert again.time_us == before
    await again.stop()


@virtual_time
async def test_listeners_hear_events_numbered_through_the_entry_before_the_waiters_wake() -> None:
    commands = await started(MemoryLog())
    heard: list[tuple[int, int, str]] = []
    woken: list[int] = []

    def listen(events: Sequence[Event]) -> None:
        heard.extend((event.index, event.seq, event.key) for event in events)
        woken.append(answer.done())

    answer = commands.submit([put("a"), put("b", expect_revision=9), put("c")])
    commands.subscribe(listen)
    await answer
    assert heard == [(2, 0, "toy/default/a"), (2, 1, "toy/default/c")]
    assert woken == [False]
    await commands.stop()


@virtual_time
async def test_a_listener_is_told_of_nothing_but_what_it_has_asked_for() -> None:
    commands = a_command_log(MemoryLog())
    heard: dict[str, list[EventType]] = {"all": [], "terms": [], "both": [], "none": []}
    of = {
        "terms": {EventType.LEADER_CHANGED},
        "both": {EventType.LEADER_CHANGED, EventType.DOCUMENT_CHANGED},
        "none": {EventType.JOB_CREATED},
    }

    def told(into: list[EventType], events: Sequence[Event]) -> None:
        into.extend(event.type for event in events)

    commands.subscribe(partial(told, heard["all"]))
    for name, kinds in of.items():
        commands.subscribe(partial(told, heard[name]), of=kinds)
    await commands.start("n1", "n1-1")
    await commands.submit([put("a"), NewLeader("n1", "n1-2"), put("b")])
    await commands.stop()
    changed, led = EventType.DOCUMENT_CHANGED, EventType.LEADER_CHANGED
    assert heard == {"all": [led, changed, led, changed], "terms": [led, led], "both": heard["all"], "none": []}


@virtual_time
async def test_a_restart_folds_the_log_and_takes_a_new_term() -> None:
    shared = SharedLog()
    commands = await started(MemoryLog(shared))
    for key in "abc":
        await commands.propose(put(key))
    await commands.stop()

    live: list[EventType] = []
    recovered: list[EventType] = []
    again = a_command_log(MemoryLog(shared))
    again.subscribe(lambda events: live.extend(event.type for event in events))
    again.subscribe(lambda events: recovered.extend(event.type for event in events), recovered=True)
    await again.start("n1", "n1-2")
    meta = again.view.get(META, "meta")
    assert meta is not None
    assert meta.term == 2
    assert again.view.get(DOCUMENTS, "toy/default/c") is not None
    assert live == [EventType.LEADER_CHANGED]
    assert len(recovered) == 5
    await again.stop()


@virtual_time
async def test_state_that_is_ahead_of_the_log_is_refused() -> None:
    state = MemoryState()
    commands = await started(MemoryLog(), state)
    await commands.propose(put("a"))
    await commands.stop()
    with pytest.raises(LogDamaged, match="do not belong together"):
        await started(MemoryLog(), state)


@virtual_time
async def test_state_that_the_log_no_longer_reaches_is_refused() -> None:
    log = MemoryLog()
    commands = await started(log)
    for _ in range(5):
        await commands.propose(put("a"))
    await commands.stop()
    await log.truncate(4, await log.campaign())
    with pytest.raises(SnapshotNeeded):
        await started(log)


@virtual_time
async def test_a_full_disk_fails_the_proposal_changes_nothing_and_is_over_when_there_is_space() -> None:
    log = FailingLog()
    commands = await started(log)
    log.error = StorageFull()
    with pytest.raises(StorageFull):
        await commands.propose(put("a"))
    assert commands.applied == 1
    assert commands.storage_full
    assert (await commands.propose(put("b"))).ok
    assert [keys(entry) for entry in await entries(log, 2)] == [["b"]]
    assert not commands.failed.is_set()
    assert not commands.storage_full
    await commands.stop()


@pytest.mark.parametrize("error", [LogFailed("the disk is gone"), RuntimeError("a bug")])
def test_any_other_failure_ends_the_log_and_everybody_who_waits_hears_of_it(error: Exception) -> None:
    @virtual_time
    async def run() -> None:
        log = FailingLog(latency=lambda: 1.0)
        commands = await started(log)
        log.error = error
        waiting = [commands.submit([put(key)]) for key in "ab"]
        await asyncio.sleep(0)
        waiting.append(commands.submit([put("c")]))
        await commands.failed.wait()
        for answer in waiting:
            with pytest.raises(Unavailable, match=str(error)):
                await answer
        assert commands.failure is error
        with pytest.raises(Unavailable):
            commands.submit([put("d")])
        await commands.stop()

    run()


@virtual_time
async def test_a_full_queue_is_refused_and_what_waits_is_answered() -> None:
    commands = await started(MemoryLog(latency=lambda: 1.0), queue_commands_max=5)
    first = commands.submit([put("first")])
    await asyncio.sleep(0.1)
    waiting = [commands.submit([put(str(n))]) for n in range(5)]
    assert commands.waiting == 5
    with pytest.raises(Overloaded):
        commands.submit([put("too much")])
    await asyncio.gather(first, *waiting)
    assert (await commands.propose(put("again"))).ok
    await commands.stop()


@virtual_time
async def test_a_submission_too_big_for_any_entry_is_refused() -> None:
    commands = await started(MemoryLog(), submission_bytes_max=1_000)
    with pytest.raises(Invalid, match="too big"):
        commands.submit([put("a", bytes(2_000))])
    await commands.stop()


@virtual_time
async def test_stopping_answers_what_was_submitted_and_refuses_the_rest() -> None:
    commands = await started(MemoryLog(latency=lambda: 1.0))
    answer = commands.submit([put("a")])
    stopping = asyncio.create_task(commands.stop())
    await asyncio.sleep(0.5)
    with pytest.raises(Draining):
        commands.submit([put("b")])
    await stopping
    assert (await answer)[0].ok
    await commands.stop()


@virtual_time
async def test_a_command_log_that_never_started_stops() -> None:
    await a_command_log(MemoryLog()).stop()


@virtual_time
async def test_a_waiter_that_gave_up_does_not_hold_up_the_others() -> None:
    commands = await started(MemoryLog(latency=lambda: 1.0))
    gone = commands.submit([put("a")])
    stays = commands.submit([put("b")])
    gone.cancel()
    assert (await stays)[0].ok
    assert commands.view.get(DOCUMENTS, "toy/default/a") is not None
    await commands.stop()


class SlowState(MemoryState):
    """A state whose flush takes a second, and may find the disk full."""

    flushes = 0
    full = False

    def __init__(self) -> None:
        super().__init__()
        self._flushed = 0

    @property
    def flushed_index(self) -> int:
        return self._flushed

    async def flush(self, *, patiently: bool = False) -> None:
        upto = self.applied_index
        await asyncio.sleep(1)
        if self.full:
            raise StorageFull
        self.flushes += 1
        self._flushed = upto


@virtual_time
async def test_what_is_searched_is_answered_only_when_it_is_in_the_file() -> None:
    state = SlowState()
    commands = await started(MemoryLog(), state)
    await asyncio.sleep(10)
    before = asyncio.get_running_loop().time()
    answer = commands.submit([put("a")])
    refused = commands.submit([put("a", expect_revision=9)])
    assert (await refused)[0].error
    assert asyncio.get_running_loop().time() == before
    await answer
    assert asyncio.get_running_loop().time() == before + 1
    assert state.flushed_index >= 2
    await commands.stop()


@virtual_time
async def test_where_searches_look_into_memory_too_it_is_answered_at_once_until_too_much_is_in_no_file() -> None:
    class Remembering(SlowState):
        overlaid = 3

    state = Remembering()
    commands = await started(MemoryLog(), state, write_through=False, overlaid_max=3)
    await asyncio.sleep(10)
    before, loop = asyncio.get_running_loop().time(), asyncio.get_running_loop()
    await commands.submit([put("a")])
    assert (loop.time(), commands.unwritten) == (before, 0)
    Remembering.overlaid = 4
    await asyncio.sleep(10)
    before = loop.time()
    await commands.submit([put("b")])
    assert loop.time() == before + 1
    await commands.stop()


@virtual_time
async def test_while_state_cannot_be_written_nothing_new_is_accepted_but_what_was_is_answered() -> None:
    state = SlowState()
    commands = await started(MemoryLog(), state)
    await asyncio.sleep(10)
    state.full = True
    assert (await commands.propose(put("a"))).ok
    assert commands.storage_full
    with pytest.raises(StorageFull):
        commands.submit([put("b")])
    state.full = False
    await asyncio.sleep(3)
    assert (await commands.propose(put("b"))).ok
    await commands.stop()


@virtual_time
async def test_a_state_that_cannot_be_written_any_more_ends_the_log_too() -> None:
    class Broken(MemoryState):
        broken = False

        async def flush(self, *, patiently: bool = False) -> None:
            if self.broken:
                raise LogFailed("the disk is gone")

        @property
        def flushed_index(self) -> int:
            return self.applied_index if not self.broken else 1

    state = Broken()
    commands = await started(MemoryLog(), state)
    state.broken = True
    with pytest.raises(Unavailable, match="the disk is gone"):
        await commands.propose(put("a"))
    assert commands.failed.is_set()
    await commands.stop()


@virtual_time
async def test_a_commit_is_measured_from_the_proposal_to_the_disk_with_the_wait_for_the_one_before() -> None:
    telemetry, kept = Telemetry(), Kept()
    telemetry.add_sink(kept)
    chance = SeededChance(random.Random(1))
    log = MemoryLog(latency=lambda: 2.0)
    commands = CommandLog(log, MemoryState(), VirtualClock(), chance, fold=one_step_each(toy_fold), telemetry=telemetry)
    await commands.start("n1", "n1-1")
    first = commands.submit([put("a")])
    await asyncio.sleep(0.5)
    second = commands.submit([put("b")])
    await asyncio.gather(first, second)
    assert kept.of("log_commit_seconds") == pytest.approx([2.0, 2.0, 3.5])
    assert commands.durable == commands.applied == 3
    await commands.stop()


@virtual_time
async def test_whoever_doubts_the_clock_is_told_the_last_time_before_the_boot_record_takes_one() -> None:
    disk, clock = SharedLog(), VirtualClock()
    commands = await started(MemoryLog(disk), clock=clock)
    await commands.propose(put("a"))
    await commands.stop()
    last = commands.time_us
    clock.step(3_600)
    told: list[tuple[float, int]] = []
    commands = a_command_log(MemoryLog(disk), clock=clock)
    await commands.start("n1", "n1-2", on_recovered=lambda seconds: told.append((seconds, commands.durable)))
    assert told == [(last / 1e6, 2)]
    await commands.stop()


@virtual_time
async def test_an_empty_log_has_no_last_time() -> None:
    told: list[float] = []
    commands = a_command_log(MemoryLog())
    await commands.start("n1", "n1-1", on_recovered=told.append)
    assert told == [0.0]
    await commands.stop()


@virtual_time
async def test_entries_and_flushes_say_how_much_they_held() -> None:
    telemetry, kept = Telemetry(), Kept()
    telemetry.add_sink(kept)
    log, state = MemoryLog(SharedLog()), MemoryState()
    commands = CommandLog(
        log, state, VirtualClock(), SeededChance(random.Random(1)), fold=one_step_each(toy_fold), telemetry=telemetry
    )
    await commands.start("n1", "n1-1")
    await commands.submit([put("a", b"1"), put("b", b"2")])
    await commands.stop()
    assert kept.of("log_entry_commands") == [1, 2]
    assert len(kept.of("log_fold_seconds")) == 2
    assert sum(kept.of("state_flush_rows")) >= 2
    assert len(kept.of("state_flush_seconds")) == len(kept.of("state_flush_rows"))


@virtual_time
async def test_while_an_entry_is_folded_in_steps_others_have_their_turn_and_see_none_of_it() -> None:
    state, steps = MemoryState(), 3

    def slow(view: View, command: Command, at: At) -> Step[Changes]:
        for _ in range(steps):
            yield
        return toy_fold(view, command, at)

    commands = CommandLog(MemoryLog(), state, VirtualClock(), SeededChance(random.Random(1)), fold=slow)
    await commands.start("n1", "n1-1")
    answer = commands.submit([put("a", b"1"), put("b", b"2")])
    place, turns = document_key("toy", "default", "a"), 0
    for _ in range(100):
        if commands.durable > commands.applied:
            turns += 1
            assert commands.view.get(DOCUMENTS, place) is None
        await asyncio.sleep(0)
    assert turns >= 2 * steps
    assert all(result.ok for result in await answer)
    assert commands.view.get(DOCUMENTS, place) is not None
    await commands.stop()


class FailingState(MemoryState):
    """A state whose flush ends in an error once it is told to."""

    is_broken = False

    async def flush(self, *, patiently: bool = False) -> None:
        if self.is_broken:
            raise LogFailed("broken")


@virtual_time
async def test_who_waits_for_an_entry_that_is_being_folded_hears_of_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commandlog, "EVENTS_AT_ONCE", 1)
    state = FailingState()
    commands = await started(MemoryLog(), state)
    answer = commands.submit([put(f"key-{n}") for n in range(3)])
    commands.subscribe(lambda _: breaking(commands, state))
    with pytest.raises(Unavailable):
        async with asyncio.timeout(60):
            await answer


def breaking(commands: CommandLog, state: FailingState) -> None:
    """Let the disk fail while an entry is told of, thousand by thousand."""
    if not state.is_broken:
        state.is_broken = True
        for task in commands._tasks[2:]:
            task.cancel()


@virtual_time
async def test_whoever_acts_on_the_state_can_wait_until_subscribers_know_it_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commandlog, "EVENTS_AT_ONCE", 2)
    commands = await started(MemoryLog())
    known: list[str] = []
    begun = asyncio.Event()

    def hear(events: Sequence[Event]) -> None:
        known.extend(event.key for event in events)
        begun.set()

    commands.subscribe(hear)
    answer = commands.submit([put(f"key-{number}") for number in range(7)])
    await begun.wait()
    last = document_key("toy", "default", "key-6")
    assert commands.view.get(DOCUMENTS, last) is not None
    assert last not in known, "the state is ahead of what was told"
    await commands.told()
    assert last in known
    assert not answer.done(), "they know before it is answered"
    await answer
    await commands.told()
    await commands.stop()


@virtual_time
async def test_it_is_asked_while_somebody_outside_has_something_written_and_for_two_seconds_more() -> None:
    commands = CommandLog(MemoryLog(), MemoryState(), VirtualClock(), SeededChance(random.Random(1)))
    await commands.start("n1", "n1-1")
    assert not commands.is_asked, "by its own boot record least of all"
    await commands.submit([put("its-own")])
    assert not commands.is_asked, "most documents are the server's own"
    await commands.submit([DeleteJob("J1", "ann")])
    await asyncio.sleep(1.9)
    assert commands.is_asked
    await asyncio.sleep(0.2)
    assert not commands.is_asked
    await commands.stop()
