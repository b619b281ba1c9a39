"""Where targets report. Public: whoever has the address of an attempt may speak for it, and for nothing else."""

from __future__ import annotations

from chronos.errors import AttemptEnded, CallbackRefused, ExecutionNotFound
from chronos.features.callbacks.model import CallbackAnswer, CallbackBody, CallbackQuery
from chronos.features.callbacks.rules import Ticket
from chronos.features.callbacks.service import PATH, Callbacks
from chronos.model.callback import Heard
from chronos.plugin import Call, Endpoint, Jobs, Reply
from chronos.telemetry import Telemetry

BODY_BYTES_MAX = 512 * 1024
"""Room for the longest output with every character escaped."""


def callback_endpoint(callbacks: Callbacks, jobs: Jobs, telemetry: Telemetry) -> Endpoint:
    """Return the route that takes reports."""

    async def report(call: Call) -> Reply:
        try:
            heard = _heard(callbacks.read(call.query.token), call.body)
            standing = await jobs.hear(heard)
        except CallbackRefused:
            telemetry.count("callbacks_total", outcome="refused")
            raise
        except (AttemptEnded, ExecutionNotFound):
            telemetry.count("callbacks_total", outcome="late")
            raise
        telemetry.count("callbacks_total", outcome=call.body.result or "progress")
        return Reply(
            CallbackAnswer(execution_id=standing.execution_id, status=standing.status, cancelled=standing.cancelled)
        )

    return Endpoint(
        "POST",
        PATH,
        report,
        permission="public",
        summary="Report progress or the result of work that was answered with 202.",
        query=CallbackQuery,
        body=CallbackBody,
        answers=CallbackAnswer,
        errors=(403, 404, 409),
        tag="callbacks",
        operation="report_execution",
        body_bytes_max=BODY_BYTES_MAX,
    )


def _heard(ticket: Ticket, body: CallbackBody) -> Heard:
    return Heard(
        execution_id=ticket.execution_id,
        attempt=ticket.attempt,
        progress=-1 if body.progress is None else body.progress,
        message=body.message,
        success=None if body.result is None else body.result == "success",
        output=body.output,
        retry=body.retry,
    )
