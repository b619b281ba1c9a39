"""Which headers a job may set, and what their values may hold."""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "idempotency-key",
    }
)
_OWN_PREFIXES = ("webhook-", "chronos-", "x-chronos-")


def check_header(name: str, value: str) -> None:
    """Check one header of a job's.

    Raises:
        ValueError: Chronos sets this header itself, or the name or value would not be one header line.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("is not a header name; use letters, digits and dashes")
    if name.lower() in _OWN or name.lower().startswith(_OWN_PREFIXES):
        raise ValueError("is set by Chronos itself; leave it out")
    check_value(value)


def check_value(value: str) -> None:
    """Check a header's value.

    Raises:
        ValueError: It holds a character that no header may hold, a line break first of all.
    """
    if bad := next((c for c in value if c != "\t" and not " " <= c <= "~" and not "\xa0" <= c <= "\xff"), None):
        raise ValueError(f"has {bad!r} in its value; line breaks, control and non-Latin characters cannot be sent")
