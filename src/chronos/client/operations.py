"""Every operation of the API, as functions from what is asked to the request that asks it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from chronos.client.answers import (
    ExecutionAnswer,
    ExecutionPage,
    JobAnswer,
    JobPage,
    SchedulePreview,
    Whoami,
)
from chronos.client.operation import BASE, Operation, json_of, params_of, path_of
from chronos.model.job import JobSpec
from chronos.timing.duration import SECOND_US, parse_duration

Document = dict[str, Any]
JobLike = JobSpec | Mapping[str, Any]

PAGE_MAX = 200
BATCH_MAX = 10_000
EXPORT_MAX = 1_000_000


def jobs(
    *,
    enabled: bool | None = None,
    text: str | None = None,
    tags: Mapping[str, str] | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Operation[JobPage]:
    params = params_of(enabled=enabled, text=text, cursor=cursor, limit=limit)
    params |= {f"tag.{key}": value for key, value in (tags or {}).items()}
    return Operation("GET", path_of("jobs"), JobPage, params)


def job(ref: str) -> Operation[JobAnswer]:
    return Operation("GET", path_of("jobs", ref), JobAnswer)


def create_job(spec: JobLike) -> Operation[JobAnswer]:
    return Operation("POST", path_of("jobs"), JobAnswer, body=json_of(spec))


def replace_job(ref: str, spec: JobLike, *, revision: int) -> Operation[JobAnswer]:
    return Operation("PUT", path_of("jobs", ref), JobAnswer, body=json_of(spec), if_match=revision)


def patch_job(ref: str, patch: Mapping[str, Any], *, revision: int) -> Operation[JobAnswer]:
    return Operation("PATCH", path_of("jobs", ref), JobAnswer, body=json_of(dict(patch)), if_match=revision)


def delete_job(ref: str, *, revision: int | None = None) -> Operation[Document]:
    return Operation("DELETE", path_of("jobs", ref), dict, if_match=revision)


def trigger_job(ref: str, *, wait: str | None = None, force: bool = False) -> Operation[ExecutionAnswer]:
    patience_s = parse_duration(wait) / SECOND_US if wait else 0.0
    params = params_of(wait=wait, force=force or None)
    return Operation("POST", path_of("jobs", ref, "trigger"), ExecutionAnswer, params, patience_s=patience_s)


def enable_job(ref: str) -> Operation[JobAnswer]:
    return Operation("POST", path_of("jobs", ref, "enable"), JobAnswer)


def disable_job(ref: str) -> Operation[JobAnswer]:
    return Operation("POST", path_of("jobs", ref, "disable"), JobAnswer)


def pause_job(ref: str, *, reason: str = "", until: datetime | None = None) -> Operation[JobAnswer]:
    body = params_of(reason=reason, until=until.isoformat() if until else None)
    return Operation("POST", path_of("jobs", ref, "pause"), JobAnswer, body=json_of(body))


def resume_job(ref: str) -> Operation[JobAnswer]:
    return Operation("POST", path_of("jobs", ref, "resume"), JobAnswer)


def backfill_job(ref: str, *, since: datetime, until: datetime) -> Operation[Document]:
    body = {"since": since.isoformat(), "until": until.isoformat()}
    return Operation("POST", path_of("jobs", ref, "backfill"), dict, body=json_of(body))


def batch(specs: Iterable[JobLike]) -> Operation[Document]:
    """Create or replace many jobs in one request, at most `BATCH_MAX`; a result per job comes back."""
    lines = b"\n".join(json_of(spec) for spec in specs)
    return Operation(
        "POST",
        f"{BASE}/jobs:batch",
        dict,
        body=lines,
        content_type="application/x-ndjson",
        patience_s=60.0,
    )


def executions(
    *,
    job: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Operation[ExecutionPage]:
    params = params_of(
        status=status,
        since=since.isoformat() if since else None,
        until=until.isoformat() if until else None,
        cursor=cursor,
        limit=limit,
    )
    path = path_of("jobs", job, "executions") if job else path_of("executions")
    return Operation("GET", path, ExecutionPage, params)


def execution(ref: str) -> Operation[ExecutionAnswer]:
    return Operation("GET", path_of("executions", ref), ExecutionAnswer)


def cancel_execution(ref: str, *, reason: str = "") -> Operation[ExecutionAnswer]:
    body = json_of(params_of(reason=reason)) if reason else b""
    return Operation("POST", path_of("executions", ref, "cancel"), ExecutionAnswer, body=body)


def replay_execution(ref: str) -> Operation[ExecutionAnswer]:
    return Operation("POST", path_of("executions", ref, "replay"), ExecutionAnswer)


def redrive_execution(ref: str) -> Operation[ExecutionAnswer]:
    return Operation("POST", path_of("executions", ref, "redrive"), ExecutionAnswer)


def execution_logs(ref: str, *, follow: bool = False) -> Operation[Document]:
    return Operation("GET", path_of("executions", ref, "logs"), dict, params_of(follow=follow or None))


def execution_stream(*, job: str | None = None) -> Operation[Document]:
    return Operation("GET", path_of("executions", "stream"), dict, params_of(job=job))


def dead_letters(*, job: str | None = None, cursor: str | None = None, limit: int | None = None) -> Operation[Document]:
    return Operation("GET", path_of("dead-letters"), dict, params_of(job=job, cursor=cursor, limit=limit))


def export_executions(
    *,
    job: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    proof: bool = False,
    cursor: str = "",
) -> Operation[bytes]:
    """Ask for the executions of a namespace as lines; `Client.lines` reads them."""
    params = params_of(job=job, proof=proof or None, cursor=cursor or None, **_span(since, until))
    return Operation("GET", path_of("executions", "export"), bytes, params)


def export_history(
    *, since: datetime | None = None, until: datetime | None = None, cursor: str = ""
) -> Operation[bytes]:
    """Ask for all there is as lines; `Client.lines` reads them."""
    return Operation("GET", path_of("export"), bytes, params_of(cursor=cursor or None, **_span(since, until)))


def _span(since: datetime | None, until: datetime | None) -> dict[str, str | None]:
    return {"since": since.isoformat() if since else None, "until": until.isoformat() if until else None}


def job_versions(ref: str, *, cursor: str | None = None, limit: int | None = None) -> Operation[Document]:
    return Operation("GET", path_of("jobs", ref, "versions"), dict, params_of(cursor=cursor, limit=limit))


def job_version(ref: str, number: int) -> Operation[Document]:
    return Operation("GET", path_of("jobs", ref, "versions", number), dict)


def job_diff(ref: str, *, old: int | None = None, new: int | None = None) -> Operation[Document]:
    """Ask what differs between two versions; by default the newest and the one before it."""
    params = params_of(**{"from": old, "to": new})
    return Operation("GET", path_of("jobs", ref, "versions", "diff"), dict, params)


def rollback_job(ref: str, number: int, *, revision: int | None = None) -> Operation[Document]:
    return Operation("POST", path_of("jobs", ref, "rollback", number), dict, if_match=revision)


def explain_job(ref: str, *, at: str | None = None) -> Operation[Document]:
    """Ask why a job ran at an instant, or why not; without an offset `at` is a wall time in the job's zone."""
    return Operation("GET", path_of("jobs", ref, "explain"), dict, params_of(at=at))


def validate_schedule(schedule: str, *, timezone: str = "UTC") -> Operation[SchedulePreview]:
    body = {"schedule": schedule, "timezone": timezone}
    return Operation("POST", path_of("schedules", "validate"), SchedulePreview, body=json_of(body))


def preview_schedule(schedule: str, *, timezone: str = "UTC", count: int = 5) -> Operation[SchedulePreview]:
    body = {"schedule": schedule, "timezone": timezone, "count": count}
    return Operation("POST", path_of("schedules", "preview"), SchedulePreview, body=json_of(body))


def calendars() -> Operation[Any]:
    return Operation("GET", path_of("calendars"), object)


def calendar(name: str) -> Operation[Document]:
    return Operation("GET", path_of("calendars", name), dict)


def put_calendar(name: str, document: Mapping[str, Any]) -> Operation[Document]:
    return Operation("PUT", path_of("calendars", name), dict, body=json_of(dict(document)))


def delete_calendar(name: str) -> Operation[Document]:
    return Operation("DELETE", path_of("calendars", name), dict)


def test_webhook(target: Mapping[str, Any] | msgspec.Struct) -> Operation[Document]:
    return Operation("POST", path_of("webhooks", "test"), dict, body=json_of(target), patience_s=60.0)


def notify_channels(*, job: str | None = None) -> Operation[Document]:
    return Operation("GET", path_of("notify", "channels"), dict, params_of(job=job))


def try_notify(*, job: str | None = None) -> Operation[Document]:
    """Send a test message over a job's channels, or the server's; each may take 15 s."""
    return Operation("POST", path_of("notify", "test"), dict, body=json_of(params_of(job=job)), patience_s=180.0)


def waiting_notices(*, cursor: str | None = None, limit: int | None = None) -> Operation[Document]:
    return Operation("GET", path_of("notify", "waiting"), dict, params_of(cursor=cursor, limit=limit))


def lost_notices(*, cursor: str | None = None, limit: int | None = None) -> Operation[Document]:
    return Operation("GET", path_of("notify", "lost"), dict, params_of(cursor=cursor, limit=limit))


def cluster_status() -> Operation[Document]:
    return Operation("GET", path_of("cluster", "status"), dict)


def cluster_members() -> Operation[Document]:
    return Operation("GET", path_of("cluster", "members"), dict)


def add_member(
    name: str, peer: str | None = None, *, engine: str | None = None, api: str | None = None
) -> Operation[Document]:
    """Add a node to the cluster; without `peer` a removed member comes back to the addresses it had."""
    body = {"name": name, **params_of(peer=peer, engine=engine, api=api)}
    return Operation("POST", path_of("cluster", "members"), dict, body=json_of(body), patience_s=60.0)


def remove_member(name: str) -> Operation[Document]:
    return Operation("DELETE", path_of("cluster", "members", name), dict, patience_s=60.0)


def promote_member(name: str) -> Operation[Document]:
    """Give a node that joins its vote; waits until it has caught up, half a minute at most."""
    return Operation("POST", path_of("cluster", "members", name, "promote"), dict, patience_s=90.0)


def transfer_leadership(to: str | None = None) -> Operation[Document]:
    body = json_of(params_of(to=to))
    return Operation("POST", path_of("cluster", "transfer-leadership"), dict, body=body, patience_s=60.0)


def stats() -> Operation[Document]:
    return Operation("GET", path_of("stats"), dict)


def breakers() -> Operation[Any]:
    return Operation("GET", path_of("breakers"), object)


def reset_breaker(host: str, *, namespace: str = "default") -> Operation[Document]:
    return Operation("POST", path_of("breakers", "reset"), dict, body=json_of({"host": host, "namespace": namespace}))


def heartbeat() -> Operation[Document]:
    """Ask whether planning goes on, and whether somebody outside knows it."""
    return Operation("GET", path_of("heartbeat"), dict)


def clock() -> Operation[Document]:
    return Operation("GET", path_of("clock"), dict)


def accept_clock() -> Operation[Document]:
    return Operation("POST", path_of("clock", "accept"), dict)


def reset_clock() -> Operation[Document]:
    return Operation("POST", path_of("clock", "reset"), dict)


def take_backup() -> Operation[bytes]:
    """Ask for a backup; gathering it may take a while before the first byte comes."""
    return Operation("POST", path_of("backups"), bytes, patience_s=600.0)


def take_snapshot() -> Operation[bytes]:
    """Ask a node for a snapshot of itself; gathering it may take a while before the first byte comes."""
    return Operation("POST", path_of("cluster", "snapshot"), bytes, patience_s=600.0)


def api_keys() -> Operation[Any]:
    return Operation("GET", path_of("api-keys"), object)


def create_api_key(
    name: str, *, permissions: Iterable[str] = (), expires_at: datetime | None = None
) -> Operation[Document]:
    body: Document = {"name": name}
    if granted := list(permissions):
        body["permissions"] = granted
    if expires_at is not None:
        body["expires_at"] = expires_at.isoformat()
    return Operation("POST", path_of("api-keys"), dict, body=json_of(body))


def revoke_api_key(ref: str) -> Operation[Document]:
    return Operation("DELETE", path_of("api-keys", ref), dict)


def whoami() -> Operation[Whoami]:
    return Operation("GET", path_of("whoami"), Whoami)


def health() -> Operation[Document]:
    return Operation("GET", "/health", dict)


def ready() -> Operation[Document]:
    return Operation("GET", "/ready", dict)
