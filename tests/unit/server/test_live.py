"""Watchers: each sees what happens, in order, and one that is slow harms nobody."""

from __future__ import annotations

import pytest

from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, Kind
from chronos.server import live as module
from chronos.server.live import Live, parse_mark
from chronos.testing import virtual_time


def happened(index: int, job: str = "j") -> Event:
    execution = Execution(
        id=f"occ_{index}",
        job_id=job,
        job_name=job,
        namespace="default",
        kind=Kind.MANUAL,
        discriminator="",
        scheduled_s=index,
        effective_us=index,
        revision=1,
        priority=5,
        decided_at_us=index,
    )
    kind = EventType.EXECUTION_FINISHED
    return Event(type=kind, index=index, seq=0, time_us=index, namespace="default", job_id=job, execution=execution)


def everything(_: Event) -> bool:
    return True


@virtual_time
async def test_a_watcher_sees_events_in_order_with_their_marks() -> None:
    live = Live()
    stream = live.watch(everything, after=None)
    assert await anext(stream) == b": watching\n\n"
    live.on_events([happened(1), happened(2)])

    frames = [await anext(stream), await anext(stream)]

    assert [frame.split(b"\n")[0] for frame in frames] == [b"id: 1.0", b"id: 2.0"]
    assert frames[0].split(b"\n")[1] == b"event: execution_finished"
    assert frames[0].endswith(b"\n\n")


@virtual_time
async def test_silence_is_broken_by_heartbeats() -> None:
    stream = Live().watch(everything, after=None)
    await anext(stream)

    assert await anext(stream) == b": heartbeat\n\n"


@virtual_time
async def test_only_what_is_wanted_comes() -> None:
    live = Live()
    stream = live.watch(lambda event: event.job_id == "mine", after=None)
    await anext(stream)
    live.on_events([happened(1, "yours"), happened(2, "mine")])

    assert (await anext(stream)).startswith(b"id: 2.0")


@virtual_time
async def test_a_watcher_who_comes_back_is_told_what_came_after_his_mark() -> None:
    live = Live()
    live.on_events([happened(1), happened(2), happened(3)])
    stream = live.watch(everything, after=(1, 0))
    await anext(stream)

    assert (await anext(stream)).startswith(b"id: 2.0")
    assert (await anext(stream)).startswith(b"id: 3.0")


@virtual_time
async def test_a_watcher_who_was_away_too_long_is_told_of_the_gap() -> None:
    live = Live()
    live.on_events([happened(i) for i in range(10, 12 + module.RING)])
    stream = live.watch(everything, after=(1, 0))
    await anext(stream)

    assert (await anext(stream)).startswith(b"event: gap")


@virtual_time
async def test_a_slow_watcher_is_bounded_and_told_of_the_gap() -> None:
    live = Live()
    stream = live.watch(everything, after=None)
    await anext(stream)
    live.on_events([happened(i) for i in range(module.QUEUE + 5)])

    frames = [await anext(stream) for _ in range(6)]
    assert frames[0].startswith(b"event: gap")
    assert frames[-1].startswith(b"id: %d.0" % (module.QUEUE + 4))


@virtual_time
async def test_closing_ends_every_stream() -> None:
    live = Live()
    stream = live.watch(everything, after=None)
    await anext(stream)
    live.close()

    assert [frame async for frame in stream] == []
    assert live.is_full, "nobody new is let in"


@pytest.mark.parametrize(
    ("text", "mark"),
    [("12.3", (12, 3)), ("", None), ("x.y", None), ("1", None), ("-1.0", None), ("1" * 50 + ".0", None)],
)
def test_a_mark_is_one_of_ours_or_none(text: str, mark: tuple[int, int] | None) -> None:
    assert parse_mark(text) == mark
