"""The tables people see: which columns jobs and executions have, and what stands in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chronos.cli.chronosctl.output import local_time, pairs, table, took, visible, visible_text

Document = Mapping[str, Any]


def schedule_of(job: Document) -> str:
    """Return a job's schedules on one line."""
    every = job.get("schedules") or ([job["schedule"]] if job.get("schedule") else [])
    return " | ".join(every) or "after other jobs"


def target_of(job: Document) -> str:
    """Return where a job is delivered to, on one line."""
    target = job.get("target") or job.get("webhook") or {}
    if "url" in target:
        return f"{target.get('method', 'POST')} {target['url']}"
    if "argv" in target:
        return " ".join(target["argv"])
    return str(target.get("type", "-"))


def state_of(job: Document) -> str:
    """Return `enabled`, or since why a job does not fire."""
    paused = job.get("paused")
    if isinstance(paused, Mapping):
        reason, until = paused.get("reason"), paused.get("until")
        text = f"paused: {reason}" if reason else "paused"
        return f"{text} (until {local_time(until)})" if until else text
    return "disabled" if job.get("enabled") is False else "enabled"


def jobs_table(jobs: Sequence[Document], *, is_narrowed: bool = False) -> str:
    """Return jobs as a table, or a sentence when there is none.

    Args:
        is_narrowed: Whether a filter was asked for: there may be others.
    """
    if not jobs and is_narrowed:
        return "No job is like that. `chronosctl job list` shows all."
    if not jobs:
        return "There are no jobs. `chronosctl job create --help` shows how to make one."
    rows = [
        (job.get("name"), schedule_of(job), job.get("timezone", "UTC"), state_of(job), local_time(job.get("next_run")))
        for job in jobs
    ]
    return table(("NAME", "SCHEDULE", "ZONE", "STATE", "NEXT RUN"), rows)


def job_details(job: Document) -> str:
    """Return one job as lines of name and value."""
    retries = job.get("retry_policy") or {}
    return pairs(
        [
            ("Name", job.get("name")),
            ("Id", job.get("id")),
            ("Namespace", job.get("namespace")),
            ("Description", job.get("description")),
            ("Schedule", schedule_of(job)),
            ("Zone", job.get("timezone")),
            ("State", state_of(job)),
            ("Next run", local_time(job.get("next_run"))),
            ("Last success", local_time(job.get("last_success_at")) if job.get("last_success_at") else None),
            ("Overdue since", local_time(job.get("overdue_since")) if job.get("overdue_since") else None),
            ("Target", target_of(job)),
            ("Timeout", job.get("timeout")),
            ("Attempts", retries.get("max_attempts")),
            ("Concurrency", job.get("concurrency")),
            ("Missed runs", job.get("missed_run_policy")),
            ("Calendar", job.get("calendar")),
            ("Jitter", job.get("jitter")),
            ("Tags", ", ".join(f"{key}={value}" for key, value in (job.get("tags") or {}).items())),
            ("Revision", job.get("revision")),
            ("Created", local_time(job.get("created_at"))),
            ("Updated", local_time(job.get("updated_at"))),
        ]
    )


def why_of(execution: Document) -> str:
    """Return why an execution did not run or did not succeed, as far as it is known."""
    reason, error = str(execution.get("reason") or ""), str(execution.get("error") or "")
    # Whoever gave up says over what.
    why = reason if error in reason else ": ".join(filter(None, (reason, error)))
    return f"{why} by {execution['blocked_by']}" if execution.get("blocked_by") else why


def progress_of(execution: Document) -> str:
    """Return how far work is that its target reports about: `40 %: four of ten`; empty when nothing was said."""
    percent, message = execution.get("progress"), execution.get("message")
    return ": ".join(part for part in (f"{percent} %" if percent is not None else "", message or "") if part)


def _status_of(execution: Document) -> str:
    """Return the status, and of long work that runs how far it is."""
    percent = execution.get("progress")
    going = execution.get("status") == "running" and percent is not None
    return f"running {percent} %" if going else str(execution.get("status"))


def executions_table(executions: Sequence[Document]) -> str:
    """Return executions as a table, or a sentence when there is none."""
    if not executions:
        return "There are no executions here."
    rows = [
        (
            item.get("id"),
            item.get("job_name") or item.get("job_id"),
            _status_of(item),
            item.get("kind"),
            item.get("attempt"),
            local_time(item.get("scheduled_time")),
            took(item.get("duration_ms")),
            why_of(item),
        )
        for item in executions
    ]
    return table(("ID", "JOB", "STATUS", "KIND", "ATTEMPT", "DUE", "TOOK", "WHY"), rows)


def execution_details(execution: Document) -> str:
    """Return one execution with its attempts."""
    head = pairs(
        [
            ("Id", execution.get("id")),
            ("Job", f"{execution.get('job_name', '')} ({execution.get('job_id', '-')})"),
            ("Status", execution.get("status")),
            ("Why", why_of(execution)),
            *_long_details(execution),
            ("Kind", execution.get("kind")),
            ("Due", local_time(execution.get("scheduled_time"))),
            ("Started", local_time(execution.get("started_at"))),
            ("Completed", local_time(execution.get("completed_at"))),
            ("Took", took(execution.get("duration_ms"))),
            ("Revision", execution.get("revision")),
        ]
    )
    attempts = execution.get("attempts") or []
    if not attempts:
        return head
    return f"{head}\n\n{attempts_table(attempts)}{_excerpt(attempts[-1])}"


def _long_details(execution: Document) -> list[tuple[str, object]]:
    """Return what is known of work that a target has taken on; nothing for any other run."""
    ongoing = (execution.get("attempts") or [{}])[-1].get("ongoing")
    if not ongoing:
        return []
    return [
        ("Progress", progress_of(ongoing) or "not reported"),
        ("Last heard", local_time(ongoing.get("heard_at"))),
        ("Deadline", local_time(ongoing.get("deadline"))),
    ]


def attempts_table(attempts: Sequence[Document]) -> str:
    """Return the attempts of an execution as a table."""
    rows = [
        (
            item.get("attempt", item.get("n")),
            item.get("status"),
            item.get("status_code"),
            local_time(item.get("started_at")),
            took(item.get("duration_ms")),
            item.get("error") or item.get("error_class"),
        )
        for item in attempts
    ]
    return table(("ATTEMPT", "STATUS", "CODE", "STARTED", "TOOK", "ERROR"), rows)


def execution_line(execution: Document) -> str:
    """Return an execution on one line, for a live view."""
    told = [
        local_time(execution.get("completed_at") or execution.get("started_at") or execution.get("scheduled_time")),
        visible(execution.get("status")).ljust(9),
        visible(execution.get("job_name") or execution.get("job_id")),
        visible(execution.get("id")),
        progress_of(execution) if execution.get("status") == "running" else "",
        why_of(execution),
    ]
    return "  ".join(part for part in told if part and part != "-")


def _excerpt(attempt: Document) -> str:
    text = attempt.get("excerpt") or attempt.get("response") or ""
    return f"\n\nAnswer:\n{visible_text(str(text))}" if text else ""
