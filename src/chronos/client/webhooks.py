"""For receivers: is this request from Chronos, is it fresh, and which run of which job is it?

    from chronos.client.webhooks import verify

    run = verify(body, request.headers, os.environ["SIGNING_SECRET"])
    if not seen.insert(run.id):
        return 200  # this execution has arrived before

Needs nothing of a server; works for executions and for notices.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from chronos.model.signing import VerifyingKey, signed_content, verifying_key
from chronos.timing.clock import SystemClock, utc

TOLERANCE = timedelta(minutes=5)
"""How old, or how far ahead of the receiver's clock, a request may be."""

SIGNATURES_MAX = 32
"""How many signatures of one request are looked at."""

RECENT_MAX = 10_000

_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_TOKEN = re.compile(r"[0-9]{1,19}\.[0-9]{1,19}\.[0-9]{1,19}")
_WAS_BYTES = {"v1": 32, "v1a": 64}


class WebhookNotTrusted(Exception):
    """The request is not from who holds the secret, was changed, or is too old; the message says which."""


class ReceivedWebhook(Struct, frozen=True, kw_only=True):
    """A request that can be trusted. Only `id`, `timestamp` and `body` are covered by the signature.

    Attributes:
        id: The execution's id: the same in every attempt, so remember it with the work it caused.
        timestamp: When this attempt was signed; aware, UTC.
        attempt: 1, 2, 3 …; 0 where it is not said.
        scheduled_at: When the run was due, as it is written in the header; empty where it is not said.
        fencing_token: Compare it with the highest one seen, and refuse a lower one; None where there is none.
    """

    id: str
    timestamp: datetime
    body: bytes
    job_id: str = ""
    attempt: int = 0
    scheduled_at: str = ""
    fencing_token: tuple[int, int, int] | None = None


def verify(
    body: bytes | str,
    headers: Mapping[str, str],
    secrets: str | Iterable[str],
    *,
    tolerance: timedelta = TOLERANCE,
    now: datetime | None = None,
) -> ReceivedWebhook:
    """Return what came in, if it can be trusted.

    Every secret is compared with every signature, in a time that does not depend on which of them fits or how far.

    Args:
        body: The bytes as they came in, before anything has parsed them.
        headers: In any spelling of upper and lower case.
        secrets: `whsec_…` (shared) or `whpk_…` (public key); several while they are changed, as a list or with
            blanks in between.
        tolerance: How far `webhook-timestamp` may be from `now`, either way.
        now: The receiver's time; the machine's by default.

    Raises:
        WebhookNotTrusted: Do nothing and answer 401.
        ValueError: A secret is none: your configuration is wrong, and the request may be right.
    """
    keys = [verifying_key(word) for text in _each(secrets) for word in text.split()]
    if not keys:
        raise ValueError("no secret was given to verify with")
    raw = body.encode() if isinstance(body, str) else bytes(body)
    found = {name.lower(): value for name, value in headers.items()}
    message_id, stamp, value = (_wanted(found, f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    if "." in message_id:
        # Otherwise id, time and body could be cut apart elsewhere: the signature covers them in one piece.
        raise WebhookNotTrusted("webhook-id has a dot in it")
    timestamp = _fresh(stamp, tolerance, now)
    if not _is_signed(keys, signed_content(message_id, int(stamp), raw), value):
        raise WebhookNotTrusted("no signature fits: the request was changed, or the secret is another one")
    return ReceivedWebhook(
        id=message_id,
        timestamp=timestamp,
        body=raw,
        job_id=found.get("x-chronos-job-id", ""),
        attempt=_number(found.get("x-chronos-attempt", "")),
        scheduled_at=found.get("x-chronos-scheduled-time", ""),
        fencing_token=_token(found.get("chronos-fencing-token", "")),
    )


class RecentIds:
    """The ids seen last, in memory: a cheap first answer to "has this one arrived before?".

    It forgets with the process and beyond `size`. Work that must not happen twice remembers its id where the work
    is written, in the same transaction.
    """

    def __init__(self, size: int = RECENT_MAX) -> None:
        self._size = size
        self._ids: OrderedDict[str, None] = OrderedDict()

    def is_new(self, webhook_id: str) -> bool:
        """Note `webhook_id`; return whether it was not noted yet."""
        if webhook_id in self._ids:
            self._ids.move_to_end(webhook_id)
            return False
        self._ids[webhook_id] = None
        while len(self._ids) > self._size:
            self._ids.popitem(last=False)
        return True

    def forget(self, webhook_id: str) -> None:
        """Take `webhook_id` back: the work failed, and its next attempt is to be let in."""
        self._ids.pop(webhook_id, None)


def _each(secrets: str | Iterable[str]) -> Iterable[str]:
    return [secrets] if isinstance(secrets, str) else secrets


def _wanted(headers: Mapping[str, str], name: str) -> str:
    if value := headers.get(name, ""):
        return value
    raise WebhookNotTrusted(f"the request has no {name}: it is not signed")


def _fresh(stamp: str, tolerance: timedelta, now: datetime | None) -> datetime:
    if not _TIMESTAMP.fullmatch(stamp):
        raise WebhookNotTrusted("webhook-timestamp is no number of seconds")
    now = utc(SystemClock().time()) if now is None else now.astimezone(UTC)
    distance_s = now.timestamp() - int(stamp)
    if abs(distance_s) > tolerance.total_seconds():
        which = "old" if distance_s > 0 else "ahead of this clock"
        raise WebhookNotTrusted(f"the request is {abs(distance_s):.0f} s {which}: more than the tolerance")
    return utc(int(stamp))


def _is_signed(keys: list[VerifyingKey], content: bytes, value: str) -> bool:
    fits = False
    for part in value.split(" ", SIGNATURES_MAX)[:SIGNATURES_MAX]:
        version, _, text = part.partition(",")
        signature = _raw(text)
        if len(signature) != _WAS_BYTES.get(version):
            continue
        for key in keys:
            # Not `any`: what fits first must not show in how long it takes.
            fits |= key.version == version and key.matches(content, signature)
    return fits


def _raw(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0


def _token(text: str) -> tuple[int, int, int] | None:
    if not _TOKEN.fullmatch(text):
        return None
    epoch, term, index = map(int, text.split("."))
    return epoch, term, index
