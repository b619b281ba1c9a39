"""The flags that describe a job, and the document they amount to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from chronos.errors import Invalid
from chronos.model.secret import is_reference, is_sensitive_header

Document = dict[str, Any]

_FLAGS: list[Callable[[Any], Any]] = [
    click.option(
        "--schedule", "schedules", multiple=True, metavar="CRON", help="Like '0 2 * * *', @daily, @every 30s."
    ),
    click.option("--timezone", "--tz", "timezone", metavar="ZONE", help="IANA zone of the schedule (UTC)."),
    click.option("--url", metavar="URL", help="HTTP target."),
    click.option("--method", metavar="VERB", help="HTTP method (POST)."),
    click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="HTTP header; repeatable."),
    click.option("--body", metavar="TEXT", help="HTTP body; @FILE reads a file."),
    click.option("--bearer", metavar="'${secret:env:NAME}'", help="Bearer token, by reference."),
    click.option("--success-code", "success_codes", multiple=True, type=int, help="Status that counts as success."),
    click.option("--callback", is_flag=True, help="The target may answer 202 and report the result later."),
    click.option("--deadline", metavar="DURATION", help="With --callback: how long the work may take (1h)."),
    click.option("--heartbeat", metavar="DURATION", help="With --callback: longest silence between two reports."),
    click.option("--description", metavar="TEXT"),
    click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Repeatable."),
    click.option("--timeout", metavar="DURATION", help="Bounds one attempt, like 30s."),
    click.option("--retries", type=click.IntRange(0, 99), help="Further attempts after a failed one (2)."),
    click.option("--retry-interval", metavar="DURATION", help="Wait before the first retry (1s)."),
    click.option("--retry-max-interval", metavar="DURATION", help="Longest wait between retries (1m)."),
    click.option(
        "--concurrency",
        type=click.Choice(["allow", "forbid", "queue", "replace"]),
        help="When the previous run still runs (forbid).",
    ),
    click.option(
        "--missed",
        "missed_run_policy",
        type=click.Choice(["execute_one", "execute_all", "ignore"]),
        help="Runs missed in an outage (execute_one).",
    ),
    click.option("--catchup-window", metavar="DURATION", help="How far back missed runs count (24h)."),
    click.option("--start-at", metavar="INSTANT", help="No runs before."),
    click.option("--end-at", metavar="INSTANT", help="No runs after."),
    click.option("--calendar", metavar="NAME", help="Leave out that calendar's days."),
    click.option("--shift", type=click.Choice(["none", "next_business_day", "previous_business_day"])),
    click.option("--jitter", metavar="DURATION", help="Spread starts over this long."),
    click.option("--priority", type=click.IntRange(0, 9), help="Higher first when capacity is short (5)."),
    click.option("--on-unknown", type=click.Choice(["retry", "fail", "probe"]), help="When its fate is unknown."),
    click.option("--on-isolation", type=click.Choice(["stop", "continue"]), help="When its node is cut off."),
    click.option("--retention", metavar="DURATION", help="Keep its history this long, at most 365d."),
    click.option("--keep", "keep", type=click.IntRange(1, 1_000_000), help="Keep at least so many executions."),
]
PLAIN = (
    "timezone",
    "description",
    "concurrency",
    "missed_run_policy",
    "catchup_window",
    "start_at",
    "end_at",
    "calendar",
    "shift",
    "jitter",
    "priority",
    "on_unknown",
    "on_isolation",
)
HTTP_FLAGS = ("url", "method", "headers", "body", "bearer", "success_codes", "callback", "deadline", "heartbeat")


def job_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of a job."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def document_of(flags: Mapping[str, Any], argv: Sequence[str] = ()) -> Document:
    """Return the job that flags describe, with only what was said in it.

    Raises:
        Invalid: A flag's text is wrong, or a credential stands on the command line.
    """
    document: Document = {name: flags[name] for name in PLAIN if flags.get(name) is not None}
    if flags.get("timeout"):
        document["timeout"] = flags["timeout"]
    schedules = list(flags.get("schedules") or ())
    if len(schedules) == 1:
        document["schedule"] = schedules[0]
    elif schedules:
        document["schedules"] = schedules
    if flags.get("tags"):
        document["tags"] = dict(split_pair(text, "--tag") for text in flags["tags"])
    if retries := _retries_of(flags):
        document["retry_policy"] = retries
    if history := _history_of(flags):
        document["history"] = history
    if argv and any(flags.get(name) for name in HTTP_FLAGS):
        raise Invalid("Give --url for an HTTP target or a command behind `--` for a process, not both.")
    if argv:
        document["target"] = {"type": "process", "argv": list(argv)}
    elif webhook := _webhook_of(flags):
        document["webhook"] = webhook
    return document


def split_pair(text: str, option: str) -> tuple[str, str]:
    """Return the two sides of `KEY=VALUE`.

    Raises:
        Invalid: There is no `=`, or nothing before it.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise Invalid(f"{option}: write KEY=VALUE, not `{text}`.")
    return key, value


def patch_of(current: Mapping[str, Any], flags: Mapping[str, Any], untag: Sequence[str] = ()) -> Document:
    """Return the merge patch that makes `current` what the flags say; fields not spoken of stay.

    Raises:
        Invalid: As `document_of`.
    """
    patch = document_of(flags)
    if "schedule" in patch and current.get("schedules"):
        # The server shows one form and takes either, but not both at once.
        patch["schedules"] = None
    if "schedules" in patch and current.get("schedule"):
        patch["schedule"] = None
    if "webhook" in patch and (current.get("target") or {}).get("type") == "http":
        patch["target"] = {"type": "http", **patch.pop("webhook")}
    if untag:
        patch["tags"] = {**patch.get("tags", {}), **dict.fromkeys(untag)}
    return patch


def _retries_of(flags: Mapping[str, Any]) -> Document:
    policy: Document = {}
    if flags.get("retries") is not None:
        policy["max_attempts"] = flags["retries"] + 1
    if flags.get("retry_interval"):
        policy["initial_interval"] = flags["retry_interval"]
    if flags.get("retry_max_interval"):
        policy["max_interval"] = flags["retry_max_interval"]
    return policy


def _history_of(flags: Mapping[str, Any]) -> Document:
    said = {"retention": flags.get("retention"), "max_count": flags.get("keep")}
    return {name: value for name, value in said.items() if value is not None}


def _webhook_of(flags: Mapping[str, Any]) -> Document:
    webhook: Document = {}
    if flags.get("url"):
        webhook["url"] = flags["url"]
    if flags.get("method"):
        webhook["method"] = flags["method"].upper()
    if flags.get("headers"):
        webhook["headers"] = dict(_header_of(text) for text in flags["headers"])
    if flags.get("body") is not None:
        webhook["body"] = _body_of(flags["body"])
    if flags.get("success_codes"):
        webhook["success_codes"] = list(flags["success_codes"])
    if flags.get("callback"):
        webhook["completion"] = "callback"
    webhook |= {name: flags[name] for name in ("deadline", "heartbeat") if flags.get(name)}
    if flags.get("bearer"):
        webhook["auth"] = {"type": "bearer", "token": _by_reference(flags["bearer"], "--bearer")}
    return webhook


def _header_of(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise Invalid(f"--header: write 'NAME: VALUE', not `{text}`.")
    name, value = name.strip(), value.strip()
    return name, _by_reference(value, f"--header {name}") if is_sensitive_header(name) else value


def _by_reference(text: str, option: str) -> str:
    if not is_reference(text):
        raise Invalid(
            f"{option}: what stands on a command line is seen by every user of the machine; give a reference like "
            "'${secret:env:NAME}', or use a file with -f."
        )
    return text


def _body_of(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise Invalid(f"--body: {text[1:]} cannot be read: {getattr(exc, 'strerror', None) or 'not UTF-8'}.") from exc
