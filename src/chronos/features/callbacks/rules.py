"""The token of a callback address: which attempt it speaks for, until when, and that we have said so. Pure.

`<execution id>.<attempt>.<expiry, seconds since the epoch>.<base64url of HMAC-SHA-256>`. None of the parts is
secret but the last, and that one is worth nothing for any other attempt.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from ipaddress import ip_address
from typing import NamedTuple

from chronos.dispatch.http.url import parse_url
from chronos.errors import CallbackRefused

PURPOSE = b"chronos callback 1\0"

_TOKEN = re.compile(r"(occ_[0-9a-v]{32})\.([1-9][0-9]{0,5})\.([1-9][0-9]{0,11})\.([A-Za-z0-9_-]{43})")


class Ticket(NamedTuple):
    """Which attempt a token speaks for."""

    execution_id: str
    attempt: int
    expires_s: int


def token_of(key: bytes, ticket: Ticket) -> str:
    """Return the token of `ticket`."""
    said = f"{ticket.execution_id}.{ticket.attempt}.{ticket.expires_s}"
    return f"{said}.{_mac(key, said)}"


def ticket_of(key: bytes, token: str, now_s: float) -> Ticket:
    """Return what a token speaks for.

    Raises:
        CallbackRefused: It was not made with this key, or its time is over. What was altered is not told.
    """
    match = _TOKEN.fullmatch(token)
    said, _, mac = token.rpartition(".")
    # A text that cannot be a token takes the same way, so that its refusal says nothing by its haste either.
    is_ours = hmac.compare_digest(_mac(key, said).encode(), mac.encode("utf-8", "replace"))
    if match is None or not is_ours:
        raise CallbackRefused("This callback address was not made by this server, or has been altered.")
    ticket = Ticket(match[1], int(match[2]), int(match[3]))
    if now_s > ticket.expires_s:
        raise CallbackRefused("This callback address has expired: the deadline of its attempt is long over.")
    return ticket


def is_on_loopback(url: str) -> bool:
    """Whether a URL names this machine itself, as far as can be seen without a look-up."""
    try:
        host = parse_url(url).host
    except ValueError:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _mac(key: bytes, said: str) -> str:
    digest = hmac.new(key, PURPOSE + said.encode("utf-8", "replace"), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
