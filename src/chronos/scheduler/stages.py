"""Where the time of an execution goes: measured a batch at a time, so that measuring costs next to nothing."""

from __future__ import annotations

from collections.abc import Sequence

from chronos.dispatch.port import Done, NotSent
from chronos.model.execution import Execution
from chronos.telemetry import Telemetry


def note_granted(telemetry: Telemetry, granted: Sequence[Execution], now_us: int) -> None:
    """Measure how late the first attempts among `granted` were decided, and how long they then waited to start.

    A claim is decided ahead of its instant, so that the first is 0 while planning keeps up.
    """
    firsts = [one for one in granted if len(one.attempts) == 1 and not one.series]
    if firsts:
        late = [us / 1e6 if (us := one.decided_at_us - one.effective_us) > 0 else 0.0 for one in firsts]
        telemetry.observe_all("decision_lateness_seconds", late)
        waited = [us / 1e6 if (us := now_us - one.decided_at_us) > 0 else 0.0 for one in firsts]
        telemetry.observe_all("start_grant_seconds", waited)


def note_settled(telemetry: Telemetry, settled: Sequence[Done], now_us: int) -> None:
    """Measure how long the attempts took to be answered, and how long until that was durable: it is, now."""
    sent = [done for done in settled if type(done.outcome) is not NotSent]
    if sent:
        telemetry.observe_all(
            "attempt_answer_seconds", [(done.ended_at_us - done.started_at_us) / 1e6 for done in sent]
        )
        waited = [us / 1e6 if (us := now_us - done.ended_at_us) > 0 else 0.0 for done in sent]
        telemetry.observe_all("outcome_commit_seconds", waited)
