"""Which host a target is at, as far as that can be told before its secrets are known."""

from __future__ import annotations

from functools import lru_cache

from chronos.dispatch.http.url import URLS_KEPT, parse_url
from chronos.dispatch.template import blank
from chronos.model.target import HttpTarget, Target


def host_of(target: Target) -> str | None:
    """Return host and port that breaker and cap count by; None for targets without a host."""
    return _host_in(target.url) if isinstance(target, HttpTarget) else None


@lru_cache(maxsize=URLS_KEPT)
def _host_in(url: str) -> str | None:
    try:
        return parse_url(blank(url)).authority
    except ValueError:
        return None  # the dispatcher refuses it, with the reason
