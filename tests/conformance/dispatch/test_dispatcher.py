"""What every dispatcher promises, run against every adapter. A new adapter adds a `Case`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from tests.integration.dispatch.samples import EXECUTION, http
from tests.integration.dispatch.target_server import TargetServer
from tests.integration.dispatch.test_process import sh

from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.executor import LocalExecutor
from chronos.dispatch.http import HttpDispatcher
from chronos.dispatch.port import Cancelled, Delivered, Delivery, Dispatcher, Done, Lost, NoAnswer, Outcome, Refused
from chronos.dispatch.process import ProcessDispatcher, ProcessSettings
from chronos.dispatch.redaction import secrets_in_play
from chronos.dispatch.router import Router
from chronos.model.target import StoreResponse
from chronos.timing.clock import SystemClock

CANARY = "c4nary-of-conformance"


@dataclass
class Stage:
    """An adapter with a far side that behaves as asked.

    Attributes:
        seen: What the far side got to know about the run, as one text, for each delivery that reached it.
        begun: Set when the delivery `hangs` has reached the far side.
    """

    kind: str
    dispatcher: Dispatcher
    accepts: Delivery
    refuses: Delivery
    hangs: Delivery
    echoes: Delivery
    unreachable: Delivery
    floods: Delivery
    seen: Callable[[], list[str]]
    begun: asyncio.Event


@asynccontextmanager
async def over_http(folder: Path) -> AsyncIterator[Stage]:
    guard = EgressGuard()
    async with TargetServer() as gone:
        nowhere = gone.url()
    async with TargetServer() as server:
        dispatcher = HttpDispatcher(guard, SystemClock())
        yield Stage(
            "http",
            dispatcher,
            accepts=http(server.url("/status/200")),
            refuses=http(server.url("/status/500")),
            hangs=http(server.url("/hang")),
            echoes=http(server.url("/echo"), body=CANARY, store_response=StoreResponse.NODE),
            unreachable=http(nowhere),
            floods=http(server.url("/huge"), store_response=StoreResponse.NODE),
            seen=lambda: [got.raw_head for got in server.got],
            begun=server.stalled,
        )
        await dispatcher.aclose()
    guard.close()


@asynccontextmanager
async def as_process(folder: Path) -> AsyncIterator[Stage]:
    output: list[str] = []
    begun = asyncio.Event()

    def sink(execution_id: str, attempt: int, data: bytes) -> None:
        output.append(data.decode(errors="replace"))
        if b"hanging" in data:
            begun.set()

    settings = ProcessSettings(enabled=True, allow_same_user=True)
    async with ProcessDispatcher(folder / "groups", settings, log_sink=sink) as dispatcher:
        yield Stage(
            "process",
            dispatcher,
            accepts=sh("env"),
            refuses=sh("exit 1"),
            hangs=sh("echo hanging; exec sleep 300"),
            echoes=sh(f"echo {CANARY}"),
            unreachable=sh("true", directory="/no/such/directory"),
            floods=sh("yes | head -c 3000000"),
            seen=lambda: output,
            begun=begun,
        )


Case = Callable[[Path], AbstractAsyncContextManager[Stage]]
every_adapter = pytest.mark.parametrize("case", [over_http, as_process], ids=["http", "process"])


def on_stage(case: Case, folder: Path, play: Callable[[Stage], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), case(folder) as stage:
            await play(stage)

    asyncio.run(main())


def routed(stage: Stage) -> Router:
    return Router({stage.kind: stage.dispatcher}, SystemClock())


@every_adapter
def test_what_the_far_side_accepts_is_delivered_with_the_execution_s_id(case: Case, tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        assert isinstance(await stage.dispatcher.deliver(stage.accepts), Delivered)
        assert EXECUTION in "".join(stage.seen())
        assert stage.accepts.token in "".join(stage.seen())

    on_stage(case, tmp_path, play)


@every_adapter
def test_the_same_execution_may_be_delivered_again(case: Case, tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        for _ in range(3):
            assert isinstance(await stage.dispatcher.deliver(stage.accepts), Delivered)

    on_stage(case, tmp_path, play)


@every_adapter
def test_many_deliveries_run_side_by_side(case: Case, tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        deliveries = [msgspec.structs.replace(stage.accepts, execution_id=f"occ_{n}") for n in range(20)]
        outcomes = await asyncio.gather(*map(stage.dispatcher.deliver, deliveries))
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)

    on_stage(case, tmp_path, play)


@every_adapter
def test_a_refusal_is_a_value_with_a_reason_and_a_class(case: Case, tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        outcome = await stage.dispatcher.deliver(stage.refuses)
        assert isinstance(outcome, Refused)
        assert outcome.reason
        assert outcome.error_class
        assert not outcome.permanent

    on_stage(case, tmp_path, play)


@every_adapter
def test_what_cannot_be_reached_is_a_value_too(case: Case, tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        outcome = await stage.dispatcher.deliver(stage.unreachable)
        assert isinstance(outcome, (NoAnswer, Refused))
        assert outcome.reason
        assert outcome.error_class

    on_stage(case, tmp_path, play)


@every_adapter
def test_a_cancellation_is_let_through_and_the_adapter_stays_usable(case: Case, tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        running = asyncio.ensure_future(stage.dispatcher.deliver(stage.hangs))
        await stage.begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert isinstance(await stage.dispatcher.deliver(stage.accepts), Delivered)

    on_stage(case, tmp_path, play)


@every_adapter
def test_the_caller_s_deadline_ends_what_hangs(case: Case, tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        outcome = await routed(stage).deliver(msgspec.structs.replace(stage.hangs, timeout_us=300_000))
        assert isinstance(outcome, NoAnswer)
        assert outcome.error_class == "timeout"

    on_stage(case, tmp_path, play)


@every_adapter
def test_cancel_and_drain_are_reported_once_each(case: Case, tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        reports: list[Done] = []
        reported = asyncio.Event()

        def on_done(batch: list[Done]) -> None:
            reports.extend(batch)
            reported.set()

        async with LocalExecutor(routed(stage).deliver, on_done, SystemClock()) as executor:
            executor.submit([stage.hangs])
            await stage.begun.wait()
            await executor.cancel([EXECUTION])
            stage.begun.clear()
            await reported.wait()
            executor.submit([msgspec.structs.replace(stage.hangs, execution_id="occ_drained")])
            await stage.begun.wait()
            await executor.drain(0)
        outcomes: list[Outcome] = [done.outcome for done in reports]
        assert outcomes == [Cancelled(), Lost("drain")]

    on_stage(case, tmp_path, play)


@every_adapter
def test_secrets_never_come_back(case: Case, tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        with secrets_in_play({CANARY}):
            outcome = await stage.dispatcher.deliver(stage.echoes)
        assert isinstance(outcome, Delivered)
        assert CANARY.encode() not in msgspec.msgpack.encode(outcome)
        assert b"***" in msgspec.msgpack.encode(outcome)

    on_stage(case, tmp_path, play)


@every_adapter
def test_an_answer_is_bounded_whatever_comes(case: Case, tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        outcome = await stage.dispatcher.deliver(stage.floods)
        assert isinstance(outcome, Delivered)
        assert len(outcome.answer.excerpt.encode()) <= 1_024
        assert 0 < len(outcome.answer.body) <= 64 * 1_024

    on_stage(case, tmp_path, play)


@every_adapter
def test_an_outcome_survives_the_way_between_processes(case: Case, tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        for delivery in (stage.accepts, stage.refuses, stage.unreachable):
            outcome = await stage.dispatcher.deliver(delivery)
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(outcome), type=Outcome) == outcome

    on_stage(case, tmp_path, play)


@every_adapter
def test_an_adapter_may_be_closed_twice(case: Case, tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.dispatcher.aclose()
        await stage.dispatcher.aclose()

    on_stage(case, tmp_path, play)
