"""Reports, cancels, crashes and time in any order: what a run comes to is what was acknowledged."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.scheduler.harness import Node, World

from chronos.dispatch.port import Accepted, Answer, Delivery, Outcome
from chronos.errors import AttemptEnded, ExecutionEnded
from chronos.model.callback import Heard
from chronos.model.execution import AttemptStatus, Execution, Status
from chronos.testing import run_virtual

S = 1_000_000
DEADLINE_S, HEARTBEAT_S, ATTEMPTS = 60, 20, 2

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 25)),
        st.tuples(st.just("progress"), st.integers(1, 3)),
        st.tuples(st.just("success"), st.integers(1, 3)),
        st.tuples(st.just("failure"), st.integers(1, 3)),
        st.tuples(st.just("cancel"), st.just(0)),
        st.tuples(st.just("crash"), st.just(0)),
    ),
    max_size=12,
)


class Course:
    """One run, and what was acknowledged of it."""

    def __init__(self) -> None:
        self.world = World()
        self.world.answers["nightly"] = self._take_on
        self.acknowledged: list[tuple[str, int]] = []
        self.cancelled = False
        self.key = ""

    async def _take_on(self, delivery: Delivery) -> Outcome:
        return Accepted(Answer(202), deadline_us=DEADLINE_S * S, heartbeat_us=HEARTBEAT_S * S)

    async def run(self, actions: list[tuple[str, int]]) -> tuple[Execution, Execution]:
        """Return the run when everything was done, and an hour later."""
        await self._begin()
        lives: list[list[tuple[str, int]]] = [[]]
        for action in actions:
            if action[0] == "crash":
                lives.append([])
            else:
                lives[-1].append(action)
        for mine in lives[:-1]:
            async with Node(self.world) as node:
                await self._do(node, mine)
                node.crash()
        async with Node(self.world) as node:
            await self._do(node, lives[-1])
            now = await self._found(node)
            await asyncio.sleep(3_600)
            return now, await self._found(node)

    async def _begin(self) -> None:
        async with Node(self.world) as node:
            await node.create(schedule="0 0 1 1 *", retry_policy={"max_attempts": ATTEMPTS}, on_unknown="retry")
            self.key = (await node.jobs.trigger("nightly", namespace="default", by="ann")).id
            await asyncio.sleep(0.5)

    async def _do(self, node: Node, actions: list[tuple[str, int]]) -> None:
        for what, n in actions:
            if what == "wait":
                await asyncio.sleep(n)
            elif what == "cancel":
                await self._cancel(node)
            else:
                await self._report(node, what, n)

    async def _cancel(self, node: Node) -> None:
        try:
            await node.jobs.cancel(self.key, namespace="default", by="ann")
        except ExecutionEnded:
            return
        self.cancelled = True

    async def _report(self, node: Node, what: str, n: int) -> None:
        if n not in {sent.attempt for sent in self.world.sent}:
            return  # nobody has the address of an attempt that was never sent
        success: Any = {"progress": None, "success": True, "failure": False}[what]
        try:
            await node.jobs.hear(Heard(execution_id=self.key, attempt=n, success=success, progress=n))
        except AttemptEnded:
            return
        if success is not None:
            self.acknowledged.append((what, n))

    async def _found(self, node: Node) -> Execution:
        found = await node.queries.execution(self.key)
        assert isinstance(found, Execution)
        return found


@settings(max_examples=40, deadline=None)
@given(ACTIONS)
def test_whatever_the_order_the_run_comes_to_what_was_acknowledged(actions: list[tuple[str, int]]) -> None:
    course = Course()
    before, after = run_virtual(partial(course.run, actions))

    assert after.is_terminal, "silence ends everything"
    if before.is_terminal:
        assert after == before, "what has ended does not change"
    said = {(what, n) for what, n in course.acknowledged}
    assert len({n for _, n in said}) == len(said), "an attempt came to one thing"
    for attempt in after.attempts:
        reported = {what for what, n in said if n == attempt.n}
        assert ("success" in reported) is (attempt.status is AttemptStatus.SUCCESS)
        assert ("failure" in reported) is (attempt.error_class == "reported")
    assert (after.status is Status.SUCCESS) is any(what == "success" for what, _ in said)
    assert after.status is not Status.CANCELLED or course.cancelled
    assert not course.cancelled or after.status in (Status.CANCELLED, Status.SUCCESS)
    assert after.tries <= ATTEMPTS
    assert len(after.notes) == len(set(after.notes)), "a late result is noted once"
