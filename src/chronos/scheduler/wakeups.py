"""Who waits for the right to send, and what lets each ask again: a slot set free, a retry due, a pause over."""

from __future__ import annotations

from collections.abc import Callable

from chronos.model.events import EventType
from chronos.model.execution import Execution, Kind
from chronos.scheduler.lead import Lead
from chronos.scheduler.line import Line
from chronos.scheduler.ports import Commands
from chronos.scheduler.waiters import Waiters
from chronos.store.fold.starting import room_of
from chronos.store.tables import JOBS, OPEN, SLOTS, Slots

WAITING_REARMED = 16
GATHERED_US = 100_000
"""Who asks ahead, and has time, asks together with all others of a tenth of a second: in one entry of the log."""


class Wakeups:
    """Keeps the line of those who ask next, from what is told about executions."""

    def __init__(
        self,
        commands: Commands,
        line: Line,
        waiters: Waiters,
        stop_soon: Callable[[Execution], None],
        lead: Lead,
    ) -> None:
        self._commands = commands
        self._line = line
        self._waiters = waiters
        self._stop_soon = stop_soon
        self._lead = lead

    def note(self, kind: EventType, execution: Execution) -> None:
        """Take in what has happened to an execution, apart from its start and its end."""
        if kind is EventType.EXECUTION_DECIDED:
            self._ask_when_ready(execution)
        elif kind is EventType.EXECUTION_RETRYING:
            self._ask_when_ready(execution)
            self._rearm_waiting(execution.job_id)
        elif kind is EventType.EXECUTION_CANCELLING:
            self._stop_soon(execution)

    def note_end(self, execution: Execution) -> None:
        """Take in that an execution has ended."""
        self._line.remove(execution.id)
        self._waiters.tell(execution)
        slots = self._commands.view.get(SLOTS, execution.job_id)
        if slots is not None and slots.waiting:
            self._rearm_waiting(execution.job_id)

    def _ask_when_ready(self, execution: Execution) -> None:
        """Let it ask ahead of its time; where others have all the slots, when it is due, or one of them ends."""
        lead_us = 0 if self._has_to_wait(execution) else self._lead_of(execution)
        self._line.add(execution.id, ready_us(execution) - lead_us)

    def _has_to_wait(self, execution: Execution) -> bool:
        slots = self._commands.view.get(SLOTS, execution.job_id)
        if slots is None or not slots.holding or execution.id in slots.holding or execution.force:
            return False
        job = self._commands.view.get(JOBS, execution.job_id)
        return job is not None and len(slots.holding) >= room_of(job)

    def rearm(self, execution_id: str) -> None:
        """Let an open execution that does not run, and stands in no line, ask as soon as it is ready."""
        execution = self._commands.view.get(OPEN, execution_id)
        if execution is not None and execution.running_attempt is None and execution_id not in self._line:
            self._line.add(execution_id, ready_us(execution))

    def rearm_job(self, job_id: str) -> None:
        """Let everything that is open of a job ask again."""
        slots = self._commands.view.get(SLOTS, job_id) or Slots()
        for key in [*slots.holding, *slots.waiting]:
            self.rearm(key)

    def _rearm_waiting(self, job_id: str) -> None:
        """A slot may have become free: let the first in line ask, and who is due next, ahead of its time."""
        view = self._commands.view
        slots = view.get(SLOTS, job_id)
        first = slots.waiting[:WAITING_REARMED] if slots else ()
        for key in first:
            self.rearm(key)
        waiting = [execution for key in first if (execution := view.get(OPEN, key)) is not None]
        if waiting:
            self._ask_ahead(min(waiting, key=ready_us))

    def _ask_ahead(self, execution: Execution) -> None:
        ready_at_us, now_us = ready_us(execution), self._commands.time_us
        if ready_at_us <= now_us or execution.running_attempt is not None:
            return
        at_us = max(ready_at_us - self._lead_of(execution), now_us)
        if ready_at_us - at_us > 2 * GATHERED_US:
            at_us += -at_us % GATHERED_US
        self._line.add(execution.id, at_us)

    def _lead_of(self, execution: Execution) -> int:
        """A run by hand is due now; everything that has a time of its own is claimed ahead of it."""
        return 0 if execution.kind is Kind.MANUAL and not execution.attempts else self._lead.us


def ready_us(execution: Execution) -> int:
    """Return when the next attempt of an execution may leave."""
    return max(execution.effective_us, execution.retry_at_us)
