"""Where a redirect may lead, and what may go along. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.dispatch.http.request import Request
from chronos.dispatch.http.url import HttpUrl, join_url

REDIRECTS = frozenset({301, 302, 303, 307, 308})

# Headers of the user's that say nothing about who is asking.
_HARMLESS = frozenset({"accept", "accept-encoding", "accept-language"})


class RedirectRefused(Exception):
    """This redirect is not followed; the message says why."""


def follow(request: Request, status: int, location: str) -> Request:
    """Return the request that follows `request` after a redirect.

    307 and 308 keep method and body; 303, and 301 and 302 to anything but GET and HEAD, turn into GET without a
    body. When the origin changes, the body, the credentials and every header of the user's stay behind; the
    signature too, since it was made for someone else.

    Raises:
        RedirectRefused: It leads from https to http, or to no URL this server calls.
    """
    try:
        url = join_url(request.url, location)
    except ValueError as wrong:
        raise RedirectRefused(f"the redirect's address {wrong}") from None
    if request.url.scheme == "https" and url.scheme != "https":
        raise RedirectRefused("the redirect leads from https to http")
    method, body = request.method, request.body
    if status not in (307, 308) and method not in ("GET", "HEAD"):
        method, body = "GET", b""
    if url.origin != request.url.origin:
        return _elsewhere(request, url, method)
    user = request.user if body else {n: v for n, v in request.user.items() if n.lower() != "content-type"}
    return replace(request, url=url, method=method, body=body, user=user)


def _elsewhere(request: Request, url: HttpUrl, method: str) -> Request:
    user = {name: value for name, value in request.user.items() if name.lower() in _HARMLESS}
    return replace(request, url=url, method=method, body=b"", user=user, keys=())
