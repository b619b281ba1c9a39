"""The words, for somebody who was asleep a minute ago: what, when, why, and where to look. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from chronos.features.notify.model import DigestLine, Notice, NoticeKind
from chronos.timing.clock import utc

SUBJECT_CHARS_MAX = 150

_REASONS = {
    "misfire": "it was too late to start them and the job's missed_run_policy says not to",
    "expired": "they were older than the job's catchup_window when the scheduler could look again",
}
_MARKS = {
    NoticeKind.FAILURE: "FAILED",
    NoticeKind.RECOVERY: "RECOVERED",
    NoticeKind.MISSED: "MISSED",
    NoticeKind.DIGEST: "MORE TROUBLE",
    NoticeKind.TEST: "TEST",
}


def subject(notice: Notice) -> str:
    """Return one line that says it all, at most 150 characters."""
    return f"[Chronos] {_MARKS[notice.kind]}: {_what(notice)}"[:SUBJECT_CHARS_MAX]


def facts(notice: Notice, console_url: str | None = None) -> list[tuple[str, str]]:
    """Return what is known, as (label, text), in the order in which it is wanted."""
    if notice.kind is NoticeKind.DIGEST:
        return _digest_facts(notice)
    if notice.kind is NoticeKind.TEST:
        return [("What", "A test message. If you read this, the channel works.")]
    found = [("Job", f"{notice.job_name} ({notice.job_id}, namespace {notice.namespace})"), *_course(notice)]
    found.append(("Next run", moment(notice.next_run_s) if notice.next_run_s else "none planned"))
    return [*found, *_where_to_look(notice, console_url)]


def plain(notice: Notice, console_url: str | None = None) -> str:
    """Return the whole message as plain text."""
    found = facts(notice, console_url)
    width = max(len(label) for label, _ in found) + 3
    lines = [f"{label + ':':<{width}}{text}" for label, text in found]
    return "\n".join([subject(notice), "", *lines, "", f"Message {notice.id}", ""])


def slack(notice: Notice, console_url: str | None = None) -> dict[str, Any]:
    """Return the body for a Slack incoming webhook: Block Kit, every text escaped."""
    head = _escaped(subject(notice))
    lines = "\n".join(f"*{_escaped(label)}:* {_escaped(text)}" for label, text in facts(notice, console_url))
    return {
        "text": head,
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": f"*{head}*"}},
            {"type": "section", "text": {"type": "mrkdwn", "text": _cut(lines, 3_000)}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": _escaped(f"Message {notice.id}")}]},
        ],
    }


def moment(seconds: float) -> str:
    """Return an instant for people, in UTC."""
    return utc(seconds).strftime("%Y-%m-%d %H:%M:%S UTC")


def _what(notice: Notice) -> str:
    if notice.kind is NoticeKind.MISSED:
        return f"{notice.job_name}: {_runs(notice.missed)} did not happen"
    if notice.kind is NoticeKind.DIGEST:
        total = sum(line.count for line in notice.lines) + notice.more
        return f"{total} more in the last minutes"
    return notice.job_name or "does this channel work?"


def _course(notice: Notice) -> list[tuple[str, str]]:
    if notice.kind is NoticeKind.MISSED:
        span = moment(notice.scheduled_s)
        if notice.missed_last_s > notice.scheduled_s:
            span += f" to {moment(notice.missed_last_s)}"
        return [
            ("Missed", f"{_runs(notice.missed)}, due {span}"),
            ("Why", _REASONS.get(notice.reason, notice.reason)),
        ]
    due = ("Due", moment(notice.scheduled_s))
    if notice.kind is NoticeKind.RECOVERY:
        return [
            due,
            ("Well since", moment(notice.at_us / 1e6)),
            ("Failing since", moment(notice.failing_since_us / 1e6)),
        ]
    status = "" if notice.status_code is None else f" (status {notice.status_code})"
    tries = f"after {notice.attempts} attempt{'' if notice.attempts == 1 else 's'}"
    return [
        due,
        ("Gave up", f"{moment(notice.at_us / 1e6)}, {tries}"),
        ("Why", (notice.error or "no reason was recorded") + status),
    ]


def _where_to_look(notice: Notice, console_url: str | None) -> list[tuple[str, str]]:
    if not notice.execution_id:
        return [("Look", f"chronosctl execution list {notice.job_id}")]
    found = [("Look", f"chronosctl execution get {notice.execution_id}")]
    if notice.kind is NoticeKind.FAILURE:
        found.append(("Try again", f"chronosctl execution redrive {notice.execution_id}"))
    if console_url:
        found.append(("Link", f"{console_url.rstrip('/')}/api/v1/executions/{quote(notice.execution_id)}"))
    return found


def _digest_facts(notice: Notice) -> list[tuple[str, str]]:
    found = [("What", "So much happened that these messages were put together into one.")]
    found += [(line.kind.value.capitalize(), _line(line)) for line in notice.lines]
    if notice.more:
        found.append(("And", f"{notice.more} more about other jobs: chronosctl execution list --status failed"))
    return found


def _line(line: DigestLine) -> str:
    times = "once" if line.count == 1 else f"{line.count} times"
    last = f", last {line.execution_id}" if line.execution_id else ""
    return f"{line.job_name} ({line.job_id}, namespace {line.namespace}) {times}{last}"


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _escaped(text: str) -> str:
    # The three characters with a meaning to Slack, as its documentation says: `<!channel>` wakes nobody.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1] + "…"
