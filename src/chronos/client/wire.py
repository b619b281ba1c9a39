"""Between our values and httpx2's: the little that both clients share."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec
from msgspec import Struct

from chronos.client.exchange import Caller, Received, Send
from chronos.client.operation import Operation
from chronos.client.problems import UnknownAnswer
from chronos.errors import Invalid

_ERRNO = re.compile(r"^\[Errno -?\d+\] ")
_PORT_MAX = 65_535
STREAM_QUIET_S = 60.0  # the server sends a comment more often than this
STREAM_LOSSES_MAX = 5


class StreamEvent(Struct, frozen=True, kw_only=True):
    """Something the server told on a stream.

    Attributes:
        id: Give it back as `after` to go on behind it.
        data: The event's JSON, or its text when it is not JSON.
    """

    id: str
    event: str
    data: Any


def options_of(server: str, ca_file: str | None) -> dict[str, Any]:
    """Return what an httpx2 client is made with.

    Neither proxies nor certificates are taken from the environment, and redirects are not followed,
    so that the key goes to the server that was named and to no other.

    Raises:
        Invalid: The address is not one of HTTP, or the certificates cannot be read.
    """
    try:
        url = httpx2.URL(server)
    except httpx2.InvalidURL as exc:
        raise Invalid(f"`{server}` is not the address of a server: {exc}.", field="server") from exc
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > _PORT_MAX:
        raise Invalid(f"`{server}` is no server's address; write it like http://127.0.0.1:8080.", field="server")
    return {
        "base_url": server.rstrip("/"),
        # Certificates take 20 ms to load, and http:// has no use for them.
        "verify": _certificates(ca_file) if url.scheme == "https" else False,
        "trust_env": False,
        "follow_redirects": False,
    }


def _certificates(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as exc:
        raise Invalid(f"The certificates in {ca_file} cannot be read: {exc.strerror or exc}.", field="ca_file") from exc


def request_args(send: Send) -> dict[str, Any]:
    """Return the arguments of httpx2's `request`."""
    return {
        "method": send.method,
        "url": send.path,
        "params": dict(send.params) or None,
        "headers": dict(send.headers),
        "content": send.body or None,
        "timeout": httpx2.Timeout(send.timeout_s, connect=min(5.0, send.timeout_s)),
    }


def stream_args(path: str, params: Mapping[str, str], caller: Caller, last_id: str) -> dict[str, Any]:
    """Return the arguments of httpx2's `stream` for server-sent events behind `last_id`."""
    headers = {**caller.headers(), "Accept": "text/event-stream"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    timeout = httpx2.Timeout(STREAM_QUIET_S, connect=5.0)
    return {"method": "GET", "url": path, "params": dict(params) or None, "headers": headers, "timeout": timeout}


def pieces_args(operation: Operation[bytes], caller: Caller) -> dict[str, Any]:
    """Return the arguments of httpx2's `stream` for an answer that is taken piece by piece."""
    headers = {**caller.headers(), "Accept": "*/*", "Content-Type": operation.content_type}
    timeout = httpx2.Timeout(caller.patience.timeout_s + operation.patience_s, connect=5.0)
    return {
        "method": operation.method,
        "url": operation.path,
        "params": dict(operation.params) or None,
        "headers": headers,
        "timeout": timeout,
    }


def received(response: httpx2.Response) -> Received:
    """Return an answer that has been read to its end."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Received(response.status_code, headers, response.content)


def reason_of(exc: httpx2.RequestError) -> str:
    """Return why there was no answer, in words."""
    if isinstance(exc, httpx2.ConnectTimeout):
        return "connecting took too long"
    if isinstance(exc, httpx2.TimeoutException):
        return "it took too long"
    return _ERRNO.sub("", str(exc)).lower() or type(exc).__name__


def event_of(sse: httpx2.ServerSentEvent) -> StreamEvent:
    """Return a server-sent event, decoded."""
    try:
        data = msgspec.json.decode(sse.data.encode())
    except msgspec.DecodeError:
        data = sse.data
    return StreamEvent(id=sse.id, event=sse.event, data=data)


def check_stream(response: httpx2.Response, server: str) -> None:
    """See to it that an opened stream is one of server-sent events.

    Raises:
        UnknownAnswer: It is something else.
    """
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        raise UnknownAnswer(f"{server} does not stream events; is this the address of Chronos?")
