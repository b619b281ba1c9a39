"""The gate before the routes: what every request has to pass, whatever it asks for.

From the outside in: request id and security headers, the host, the page it comes from, the path's
spelling, the content type, and who is asking. Only then is there a route. An address that does not exist
is a 404 to whom we know and a 401 to whom we do not.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from ipaddress import ip_address
from typing import Any

import msgspec
import structlog

from chronos.errors import ChronosError, Draining
from chronos.model.principal import Principal
from chronos.server.problems import CONTENT_TYPE, HttpProblem, describe, describe_bug, describe_http
from chronos.telemetry import Telemetry
from chronos.timing.clock import Chance, Clock, Ulids

log = structlog.get_logger("chronos.http")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_EXTRA = [(name.encode(), value.encode()) for name, value in (*SECURITY_HEADERS.items(), ("Cache-Control", "no-store"))]
_EXTRA_NAMES = frozenset(name.lower() for name, _ in _EXTRA)
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
WRITES = METHODS - {"GET"}
QUERY_BYTES_MAX = 8_192

_HOST = re.compile(r"^(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?$")
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,128}$")
# Spellings that one program reads as one path and the next as another.
_ODD_PATH = re.compile(rb"//|/\.{1,2}(/|$)|;|\\|%2[fFeE]|%5[cC]|%00|[\x00-\x20\x7f-\xff#]|^[^/]")

Authenticate = Callable[[Mapping[str, str]], Awaitable[Principal]]
"""Returns who is asking, given the request's headers; raises `Unauthenticated`."""


class Gate:
    """Lets requests through to `inner`, and answers whatever goes wrong there.

    Args:
        authenticate: Says who is asking.
        is_public: Whether a method and exact path need no caller.
        allowed_methods: The methods a path takes, sorted; empty when there is no such path.
        content_type: The content type a write to a path must have.
        hosts: Host names this server answers to, besides the loopback ones.
        is_draining: Whether the server is shutting down; writes are refused then.
    """

    def __init__(
        self,
        inner: Asgi,
        *,
        authenticate: Authenticate,
        is_public: Callable[[str, str], bool],
        allowed_methods: Callable[[str], list[str]],
        content_type: Callable[[str, str], str],
        hosts: frozenset[str],
        clock: Clock,
        chance: Chance,
        telemetry: Telemetry,
        is_draining: Callable[[], bool],
    ) -> None:
        self._inner = inner
        self._authenticate = authenticate
        self._is_public = is_public
        self._allowed_methods = allowed_methods
        self._content_type = content_type
        self._hosts = LOOPBACK_HOSTS | hosts
        self._clock = clock
        self._ids = Ulids(clock, chance)
        self._log = log.bind()  # once: every line of a logger that is not bound binds one anew
        self._telemetry = telemetry
        self._is_draining = is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        began = self._clock.boottime()
        answer = _Answer(scope, send)
        headers = _headers(scope)
        request_id = headers.get("x-request-id", "")
        if not _REQUEST_ID.match(request_id):
            request_id = self._ids.draw()
        answer.request_id = request_id
        scope["chronos.request_id"] = request_id
        scope["chronos.headers"] = headers
        try:
            await self._admit(scope, headers)
            await self._inner(scope, receive, answer)
        except ChronosError as exc:
            await answer.problem(*describe(exc, request_id=request_id))
        except HttpProblem as exc:
            await answer.problem(*describe_http(exc, request_id=request_id))
        except Exception:  # the edge of a request: nothing behind it may take the server down
            log.exception("request_failed", method=scope["method"], path=scope["path"], request_id=request_id)
            await answer.problem(*describe_bug(request_id=request_id))
        finally:
            self._note(scope, answer.status, self._clock.boottime() - began, request_id)

    async def _admit(self, scope: Scope, headers: dict[str, str]) -> None:
        method, path = scope["method"], scope["path"]
        self._check_host(scope, headers)
        _check_origin(scope, headers)
        public = _is_plain(scope) and self._is_public(method, path)
        if not public:
            scope["chronos.principal"] = await self._authenticate(headers)
        if not _is_plain(scope):
            raise HttpProblem(404, "not-found", "There is nothing at this address; check its spelling.")
        _check_query(scope)
        allowed = self._allowed_methods(path)
        if not allowed:
            raise HttpProblem(404, "not-found", f"There is nothing at {path[:200]}.")
        if method not in allowed:
            detail = f"{path[:200]} takes {', '.join(allowed)}."
            raise HttpProblem(405, "method-not-allowed", detail, {"Allow": ", ".join(allowed)})
        _check_content(headers, self._content_type(method, path) if method in WRITES else "")
        if method in WRITES and self._is_draining():
            raise Draining

    def _check_host(self, scope: Scope, headers: dict[str, str]) -> None:
        given = [value for name, value in scope["headers"] if name == b"host"]
        if len(given) != 1:
            raise HttpProblem(400, "host-invalid", "Send exactly one Host header.")
        match = _HOST.match(headers["host"])
        host = (match["six"] or match["name"]).lower() if match else ""
        if host not in self._hosts:
            raise HttpProblem(
                421,
                "misdirected-request",
                f"This server does not answer to the host {headers['host'][:100]!r}; "
                "`server.allowed_hosts` lists the names it answers to.",
            )

    def _note(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        if scope.get("chronos.counted"):
            return  # where the answer was made
        route = scope.get("chronos.route", "other")
        self._telemetry.count("http_requests_total", method=_method(scope), path=route, status=str(status))
        self._telemetry.observe("http_request_duration_seconds", seconds, method=_method(scope), path=route)
        self._log.debug(
            "request",
            method=_method(scope),
            path=scope["path"][:200],
            status=status,
            ms=round(seconds * 1000, 1),
            request_id=request_id,
        )


class _Answer:
    """The way back: adds the headers every answer has, and remembers whether one has begun."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self.request_id = ""
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name.lower() for name, _ in message["headers"]}
            extra = _EXTRA if given.isdisjoint(_EXTRA_NAMES) else [one for one in _EXTRA if one[0].lower() not in given]
            message["headers"] = [*message["headers"], *extra]
            if b"x-request-id" not in given:
                message["headers"].append((b"X-Request-Id", self.request_id.encode()))
        await self._send(message)

    async def problem(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        if self.status:
            return  # the answer has begun; all that is left is to end it
        raw = msgspec.json.encode(body)
        pairs = {"Content-Type": CONTENT_TYPE, "Content-Length": str(len(raw)), **headers}
        if status in (400, 413, 431) and "chronos.read" not in self._scope:
            pairs["Connection"] = "close"  # what is left of the body is not worth reading
        start = {"type": "http.response.start", "status": status}
        await self({**start, "headers": [(n.lower().encode(), v.encode()) for n, v in pairs.items()]})
        await self({"type": "http.response.body", "body": raw})


def host_of(address: str) -> str:
    """Return the bind address as a `Host` may name it, or an empty string when it means any address."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address.lower()
    return "" if ip.is_unspecified else str(ip)


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else "OTHER"


def _is_plain(scope: Scope) -> bool:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    path = raw.partition(b"?")[0]
    return not _ODD_PATH.search(path) and (path == b"/" or not path.endswith(b"/")) and scope["path"].isprintable()


def _check_origin(scope: Scope, headers: dict[str, str]) -> None:
    site = headers.get("sec-fetch-site", "none")
    origin = headers.get("origin")
    same = f"{scope.get('scheme', 'http')}://{headers['host']}".lower()
    if site not in ("same-origin", "none") or (origin is not None and origin.lower() != same):
        raise HttpProblem(
            403,
            "cross-origin",
            "Requests from pages of another origin are refused; call the server from your own code.",
        )


def _check_query(scope: Scope) -> None:
    query: bytes = scope["query_string"]
    if len(query) > QUERY_BYTES_MAX:
        raise HttpProblem(400, "query-too-long", f"The query string is longer than {QUERY_BYTES_MAX} bytes.")
    if re.search(rb"(?i)(^|&)(api[_-]?key|access_token)=", query):
        detail = "Keys do not belong into addresses, which end up in logs; send `Authorization: Bearer KEY`."
        raise HttpProblem(400, "key-in-query", detail)


def _check_content(headers: dict[str, str], wanted: str) -> None:
    if headers.get("content-encoding", "identity") != "identity":
        raise HttpProblem(415, "content-encoding", "Compressed request bodies are not accepted; send it as it is.")
    if not wanted:
        return
    given = headers.get("content-type", "").replace(" ", "").lower()
    if given.removesuffix(";charset=utf-8") != wanted:
        raise HttpProblem(
            415,
            "unsupported-media-type",
            f"Send `Content-Type: {wanted}`, even without a body.",
            {"Accept": wanted},
        )
