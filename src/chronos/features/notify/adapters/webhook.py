"""A notice as JSON, signed as Standard Webhooks says."""

from __future__ import annotations

import msgspec

from chronos.features.notify.adapters.post import GuardedPost
from chronos.features.notify.model import Notice, NoticeKind
from chronos.features.notify.port import Result, Unsent
from chronos.features.notify.texts import facts, subject
from chronos.model.notify import NotifyWebhook
from chronos.model.signing import signatures, signing_keys
from chronos.timing.clock import Clock, utc

TYPES = {
    NoticeKind.FAILURE: "execution.failed",
    NoticeKind.RECOVERY: "job.recovered",
    NoticeKind.MISSED: "run.missed",
    NoticeKind.DIGEST: "notify.digest",
    NoticeKind.TEST: "notify.test",
}


class WebhookSender:
    """Posts `{type, timestamp, data}`."""

    def __init__(self, post: GuardedPost, clock: Clock, console_url: str | None = None) -> None:
        self._post = post
        self._clock = clock
        self._console_url = console_url

    async def send(self, notice: Notice, channel: NotifyWebhook) -> Result:
        body = msgspec.json.encode(self._payload(notice))
        now_s = int(self._clock.time())
        headers = {"webhook-id": notice.id, "webhook-timestamp": str(now_s)}
        if channel.secret:
            try:
                keys = signing_keys(channel.secret)
            except ValueError as wrong:
                return Unsent(f"the channel's secret {wrong}", permanent=True)
            headers["webhook-signature"] = signatures(keys, notice.id, now_s, body)
        return await self._post.post(channel.url, body, headers)

    def _payload(self, notice: Notice) -> dict[str, object]:
        return {
            "type": TYPES[notice.kind],
            "timestamp": utc(notice.at_us / 1e6),
            "data": {
                "subject": subject(notice),
                "text": [f"{label}: {text}" for label, text in facts(notice, self._console_url)],
                **_data(notice),
            },
        }


def _data(notice: Notice) -> dict[str, object]:
    """Return what programs want: instants as text, and nothing that this kind of notice does not have."""
    instants = {
        "scheduled_at": notice.scheduled_s,
        "failing_since": notice.failing_since_us / 1e6,
        "next_run": notice.next_run_s,
        "missed_until": notice.missed_last_s,
    }
    plain = {
        "namespace": notice.namespace,
        "job_id": notice.job_id,
        "job_name": notice.job_name,
        "execution_id": notice.execution_id,
        "attempts": notice.attempts,
        "status_code": notice.status_code,
        "error": notice.error,
        "missed": notice.missed,
        "reason": notice.reason,
        "lines": notice.lines,
        "more": notice.more,
    }
    shown: dict[str, object] = {name: value for name, value in plain.items() if value}
    return shown | {name: utc(seconds) for name, seconds in instants.items() if seconds}
