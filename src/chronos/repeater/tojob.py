"""From a repetition to the job that would run the same schedule on a server. Pure; what no job can do is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from chronos.errors import Invalid
from chronos.timing.duration import SECOND_US, format_duration

Document = dict[str, Any]

HINTS = {
    "count": "a job goes on until it is deleted or paused; leave the number out, with `rpr interval` or `rpr cron`",
    "duration": "a job goes on until its `end_at`; write `rpr interval --until TIME`",
    "rate-limit": "a job has a schedule and no rate; write `rpr interval` with the time between two starts",
}
RETRIES = (
    "a job tries again after a failed run (`retry_policy`), but its runs need a schedule: `rpr interval` or `rpr cron`"
)
LEARNS = "a server plans ahead, and this mode decides after each run; write `rpr interval` or `rpr cron`"

REFUSED = {
    "times": "a job does not count its runs",
    "for": "a job does not know when it was begun; write --until TIME",
    "until_success": "a job goes on after a success",
    "until_failure": "a job goes on after a failure",
    "until_change": "a job does not compare what its runs print",
    "until_match": "a job does not read what its runs print",
    "max_failures": "a job goes on after failures; `notify` tells somebody of them",
    "success_pattern": "a job is judged by the exit code; let the command decide",
    "failure_pattern": "a job is judged by the exit code; let the command decide",
    "http_aware": "a program's output moves no job; a job with a `webhook` heeds Retry-After",
    "executor": "a plug-in of `rpr` is none of the server's",
    "immediate": "a job's first run is its first instant; `chronosctl job trigger NAME` runs it at once",
}
ON_BUSY = {"skip": "forbid", "queue": "queue", "restart": "replace"}
QUEUE_MAX = 1_000


def job_of(
    name: str, mode: str, values: Mapping[str, Any], argv: Sequence[str], *, zone: str, retries: bool, directory: str
) -> Document:
    """Return the job file's document.

    Args:
        mode: The subcommand's whole name; `retries`: whether it tries until a run succeeds.
        values: Flag → value, seconds for durations; `until_at` is an instant, seconds since the epoch.
        zone: Where a cron expression is read.

    Raises:
        Invalid: No job does that; the message says what, and what to write instead.
    """
    schedule = _schedule(mode, values, retries=retries)
    for flag, why in REFUSED.items():
        if values.get(flag):
            raise Invalid(f"--to-job: --{flag.replace('_', '-')} cannot be kept: {why}.")
    _check_rest(values, argv)
    return {
        "name": name,
        **schedule,
        **({"timezone": zone} if mode == "cron" else {}),
        **({"end_at": _instant(values["until_at"])} if values.get("until_at") else {}),
        "target": {"type": "process", "argv": list(argv), "directory": directory, "env_allow": ["PATH", "LANG"]},
        **({"timeout": _duration(values["timeout"])} if values.get("timeout") else {}),
        "cancel_grace": _duration(values.get("grace", 5.0)),
        "concurrency": ON_BUSY[values.get("on_busy", "skip")],
        **({"queue_limit": QUEUE_MAX} if values.get("on_busy") == "queue" else {}),
        # A repetition tries nothing twice, and makes up for nothing.
        "retry_policy": {"max_attempts": 1},
        "missed_run_policy": "ignore",
        "on_unknown": "fail",
    }


def notes(document: Document) -> list[str]:
    """Return what somebody has to know before the job runs, in lines for a comment."""
    found = [
        "A server runs programs where `dispatcher.process.enabled` is true; command and directory have to be there.",
        "Of the environment it gets PATH and LANG: name what else it needs under `env`.",
    ]
    if str(document["schedule"]).startswith("@every"):
        found.append("The first run is one interval after the job was created.")
    return found


def _schedule(mode: str, values: Mapping[str, Any], *, retries: bool) -> Document:
    if mode == "cron":
        return {"schedule": values["cron"]}
    if mode != "interval":
        raise Invalid(
            f"--to-job: no job does what `rpr {mode}` does: {HINTS.get(mode, RETRIES if retries else LEARNS)}."
        )
    every_us = round(values["every"] * SECOND_US)
    if every_us % SECOND_US:
        raise Invalid("--to-job: --every has to be whole seconds: a server's schedules have no smaller ones.")
    return {"schedule": f"@every {format_duration(every_us)}"}


def _check_rest(values: Mapping[str, Any], argv: Sequence[str]) -> None:
    if values.get("concurrency", 1) > 1:
        raise Invalid("--to-job: --concurrency cannot be kept: what is too much waits in a job, and is skipped here.")
    if values.get("stdin") == "replay":
        raise Invalid("--to-job: --stdin replay cannot be kept: write the text under `target.stdin` of the job.")
    if str(values.get("jitter", "0")).rstrip("%").strip("0."):
        raise Invalid(
            "--to-job: --jitter cannot be kept: it moves starts both ways, the `jitter` of a job later ones only."
        )
    for word in argv:
        if "RPR_" in word:
            raise Invalid("--to-job: the command reads an RPR_ variable, and a server sets none.")
        if "{{" in word or "${secret:" in word or "${env:" in word or "${file:" in word:
            raise Invalid("--to-job: a server would fill in what stands in `{{ }}` or `${ }` of the command's words.")


def _duration(seconds: float) -> str:
    return format_duration(round(seconds * SECOND_US))


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
