"""The turns that only a node in company takes: doing what it is given, and taking for lost what nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import structlog

from chronos.model.events import Event
from chronos.model.execution import Attempt, Execution
from chronos.scheduler.company import Company
from chronos.scheduler.elsewhere import Host
from chronos.scheduler.ports import Readings
from chronos.scheduler.settler import Settler

log = structlog.get_logger(__name__)

LOST_LOOK_S = 0.25


class Sharing:
    """One node's share of the work.

    Args:
        hand_over: Gives granted executions to this node's executor.
        held_beyond_s: How long an execution's attempt may go on after its node was lost.
        may_overlap: Whether two runs of an execution's job may go on at a time.
        host_of: Where an execution's attempts go; None where there is no telling.
    """

    def __init__(
        self,
        company: Company,
        readings: Readings,
        settler: Settler,
        hand_over: Callable[[list[Execution]], Awaitable[None]],
        held_beyond_s: Callable[[Execution], float],
        may_overlap: Callable[[Execution], bool],
        host_of: Callable[[Execution], Host | None],
    ) -> None:
        self.company = company
        self._readings = readings
        self._settler = settler
        self._hand_over = hand_over
        self._held_beyond_s = held_beyond_s
        self._may_overlap = may_overlap
        self._host_of = host_of
        self._granted: list[Execution] = []
        self._holders: set[str] = set()
        """Whoever may hold an attempt; nobody else does, from when this node has begun to lead."""
        self._has_granted = asyncio.Event()

    def note(self, started: Sequence[Execution]) -> None:
        """Take in what was granted to whom, by whichever leader; what is this node's is done soon."""
        own = self.company.incarnation
        nodes = [execution.attempts[-1].node for execution in started]
        self._holders.update(nodes)
        if own in nodes:
            self._granted += [execution for execution, node in zip(started, nodes, strict=True) if node == own]
            self._has_granted.set()

    def note_held_back(self, event: Event) -> None:
        """Take in that a node holds back what goes to a host."""
        host = self._host_of(event.execution) if event.execution is not None else None
        if host is not None and event.until_us:
            self.company.elsewhere.note(host, event.by, event.until_us, event.time_us)

    def turns(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what is taken whoever leads, by name."""
        return {
            "taker": self._take_what_is_ours(),
            "renewals": self.company.renew_for_ever(),
            "isolation": self.company.watch_isolation(),
        }

    async def _take_what_is_ours(self) -> None:
        while True:
            await self._has_granted.wait()
            self._has_granted.clear()
            granted, self._granted = self._granted, []
            if self.company.may_send:
                await self._hand_over(granted)
            else:
                for execution in granted:
                    self._settler.note_not_sent(execution)

    async def settle_what_is_lost(self) -> None:
        """While this node leads, take for unknown what nodes had begun that are lost."""
        known: set[str] = set()
        self._holders |= {attempt.node for one in self._readings.open_executions() if (attempt := _held(one))}
        while True:
            # All is gone through only when it may matter: thousands are under way.
            while not any(self.company.is_gone(node) for node in self._holders):
                known = set()
                await asyncio.sleep(LOST_LOOK_S)
            under_way = [(one, attempt) for one in self._readings.open_executions() if (attempt := _held(one))]
            self._holders = {attempt.node for _, attempt in under_way}
            lost = {node for node in {attempt.node for _, attempt in under_way} if self.company.is_lost(node)}
            for node in sorted(lost - known):
                log.warning("a node is lost: what it had begun is unknown", node=node)
            known = lost
            over = [one for one, attempt in under_way if attempt.node in lost and self._is_over(one, attempt)]
            self._settler.note_lost(over, "its node was lost")
            gone = {node for node in {attempt.node for _, attempt in under_way} if self.company.is_gone(node)} - lost
            may_overlap = [one for one, attempt in under_way if attempt.node in gone and self._may_overlap(one)]
            self._settler.note_lost(may_overlap, "its node has ended")
            await asyncio.sleep(LOST_LOOK_S)

    def _is_over(self, execution: Execution, attempt: Attempt) -> bool:
        """Whether an attempt of a lost node has ended, for sure: some go on while their node is cut off."""
        beyond_s = self._held_beyond_s(execution)
        return not beyond_s or self.company.is_lost(attempt.node, beyond_s)


def _held(execution: Execution) -> Attempt | None:
    """Return the attempt that some node holds; what a target has taken on is nobody's."""
    attempt = execution.running_attempt
    return attempt if attempt is not None and not attempt.is_accepted else None
