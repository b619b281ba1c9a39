"""What an HTTP answer in a command's output asks to wait. Pure.

Only output that begins like an answer is looked at (`curl -i` prints such). After redirects and proxies the last
answer counts. First `Retry-After`, then the rate limit's headers, then fields of a JSON body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import ceil, isfinite
from typing import Any, NamedTuple

_STATUS = re.compile(rb"HTTP/[0-9](?:\.[0-9])? +([0-9]{3})\b[^\n]*\n")
_BLOCK_END = re.compile(rb"\r?\n\r?\n")
_EPOCH_S_MIN = 1_000_000_000
"""A reset above this is an instant, below it a wait: nobody asks to wait thirty years."""
_RESETS = ("ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset")
_REMAININGS = ("ratelimit-remaining", "x-ratelimit-remaining", "x-rate-limit-remaining")
_FIELDS = (
    ("retry_after", "json-retry-after"),
    ("retryAfter", "json-retry-after"),
    ("error.retry_after", "json-retry-after"),
    ("rate_limit.reset_in", "json-rate-limit"),
    ("backoff.delay", "json-backoff"),
)


class HttpRules(NamedTuple):
    """What is heeded.

    Attributes:
        trust_client: Heed every 4xx, not only 403 and 429.
        fields: JSON fields to look at before the usual ones, dotted.
    """

    min_s: float = 1.0
    max_s: float = 1800.0
    headers: bool = True
    json: bool = True
    trust_client: bool = False
    fields: tuple[str, ...] = ()


class Advice(NamedTuple):
    """How long to wait, and where it says so."""

    seconds: float
    source: str


class _Answer(NamedTuple):
    status: int
    headers: dict[str, list[str]]
    body: bytes


def advice_in(output: bytes, rules: HttpRules, wall_s: float) -> Advice | None:
    """Return the wait that `output` asks for, in whole seconds within the rules' bounds; None when it asks for none.

    Args:
        wall_s: Now, in seconds since the epoch, for answers that name an instant.
    """
    answer = _last_answer(output)
    if answer is None or not _is_heeded(answer.status, rules):
        return None
    found = _in_headers(answer.headers, wall_s) if rules.headers else None
    if found is None and rules.json:
        found = _in_body(answer.body, rules.fields)
    if found is None:
        return None
    return Advice(min(max(float(ceil(found.seconds)), rules.min_s), rules.max_s), found.source)


def _last_answer(output: bytes) -> _Answer | None:
    answer, rest = None, output
    while start := _STATUS.match(rest):
        head, _, body = _parted(rest[start.end() :])
        answer, rest = _Answer(int(start[1]), _headers(head), body), body
    return answer


def _parted(text: bytes) -> tuple[bytes, bytes, bytes]:
    """Return headers, the blank line, and the body; both kinds of line ends are known."""
    if text.startswith((b"\n", b"\r\n")):
        return b"", b"\n", text.lstrip(b"\r\n")
    end = _BLOCK_END.search(text)
    return (text[: end.start()], end[0], text[end.end() :]) if end else (text, b"", b"")


def _headers(head: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in head.decode("latin-1").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip().lower(), []).append(value.strip())
    return found


def _is_heeded(status: int, rules: HttpRules) -> bool:
    if 200 <= status < 300:
        return False
    return not 400 <= status < 500 or status in (403, 429) or rules.trust_client


def _in_headers(headers: Mapping[str, list[str]], wall_s: float) -> Advice | None:
    from chronos.timing.pace import parse_retry_after  # it reads dates, which most answers do not have

    seconds = parse_retry_after(headers.get("retry-after", []), wall_s)
    if seconds is not None:
        return Advice(seconds, "retry-after-header")
    remaining = next((_number(headers[name][0]) for name in _REMAININGS if name in headers), None)
    reset = next((_number(headers[name][0]) for name in _RESETS if name in headers), None)
    if reset is None or remaining not in (None, 0):
        return None
    return _positive(reset - wall_s if reset > _EPOCH_S_MIN else reset, "rate-limit-header")


def _in_body(body: bytes, fields: tuple[str, ...]) -> Advice | None:
    if not body.lstrip().startswith(b"{"):
        return None
    import json

    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return next(_candidates(document, fields), None)


def _candidates(document: Any, fields: tuple[str, ...]) -> Iterator[Advice]:
    for path, source in (*((field, "json-custom-field") for field in fields), *_FIELDS):
        number = _number(_at(document, path))
        found = None if number is None else _positive(number, source)
        if found is not None:
            yield found


def _at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def _positive(seconds: float, source: str) -> Advice | None:
    return Advice(seconds, source) if seconds > 0 else None
