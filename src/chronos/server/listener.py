"""The socket, and the web server on it: bounded headers, bounded patience, TLS 1.2 and newer."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chronos.errors import ConfigInvalid
from chronos.server.gate import Asgi
from chronos.server.settings import Http, Tls
from chronos.timing.duration import parse_duration

HEADERS_MAX = 100
HEADER_S_MAX = 10.0
CONNECTIONS_MAX = 2_000
BACKLOG = 1_024
_GATHERED_MAX = 16 * 1024
_READ_MAX = 256 * 1024  # what asyncio hands over at a time


@dataclass(frozen=True)
class Limits:
    """What a connection may take.

    Attributes:
        header_s: From a connection's or request's beginning to the end of the headers.
        body_s: From there to the end of the body.
        write_s: How long an answer may wait for a client that does not take it.
        idle_s: Between an answer and the next request.
    """

    header_s: float = HEADER_S_MAX
    body_s: float = 30.0
    write_s: float = 30.0
    idle_s: float = 30.0
    header_bytes: int = 32 * 1024


class _Gathering:
    """A transport that sends together what is written in one turn of the loop: the head of an answer, and its body.

    Each by itself would be a call into the system, and those are a good part of what a small answer costs.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)
        if len(data) > _GATHERED_MAX:
            self._send()  # at once, so that whoever writes hears at once that it is not taken

    def close(self) -> None:
        self._send()
        self._transport.close()

    def abort(self) -> None:
        self._parts.clear()
        self._transport.abort()

    def _send(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with an end to our patience: with headers that are too many or too big, with clients
    that send too slowly or leave their answers lying."""

    limits = Limits()

    _bytes = 0
    _count = 0
    _is_in_head = True
    _patience_s = 0.0
    _deadline: asyncio.TimerHandle | None = None
    _untaken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        # A transport as far as uvicorn uses one; uvloop's are none of asyncio's classes either.
        super().connection_made(cast("asyncio.Transport", _Gathering(transport, self.loop)))
        self._arm(self.limits.header_s)
        self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taken()
        self._untaken = self.loop.call_later(self.limits.write_s, self._abort)

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        # A header that never ends would be gathered by the parser before it reaches `on_header`.
        if self._is_in_head:
            self._bytes += len(data)
            if self._bytes > self.limits.header_bytes + 2 * _READ_MAX:
                self._give_up()
                return
        super().data_received(data)
        self._be_patient()  # only now: most requests come whole, and nothing more of them is waited for

    def on_message_begin(self) -> None:
        self._bytes = self._count = 0
        self._is_in_head = True
        self._arm(self.limits.header_s)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self.url and not url.startswith(b"/"):
            # Absolute addresses are for proxies; here they would let the Host header say something else.
            raise ValueError("not a path")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        self._bytes += len(name) + len(value)
        if self._count > HEADERS_MAX or self._bytes > self.limits.header_bytes:
            # The parser turns what is raised here into a 400 and the end of the connection.
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._arm(self.limits.body_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_in_head, self._bytes = True, 0
        self._disarm()
        super().on_message_complete()

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._patience_s = seconds

    def _be_patient(self) -> None:
        if self._patience_s and self._deadline is None:
            self._deadline = self.loop.call_later(self._patience_s, self._give_up)

    def _disarm(self) -> None:
        self._patience_s = 0.0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _taken(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None

    def _give_up(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()

    def _abort(self) -> None:
        # Closing would first wait for what the client does not take.
        if self.transport is not None:
            self.transport.abort()


def limits_of(http: Http) -> Limits:
    """Return the limits that the configuration sets."""
    read_s = parse_duration(http.read_timeout) / 1e6
    return Limits(
        header_s=min(HEADER_S_MAX, read_s),
        body_s=read_s,
        write_s=parse_duration(http.write_timeout) / 1e6,
        idle_s=parse_duration(http.idle_timeout) / 1e6,
        header_bytes=http.max_header_bytes,
    )


def _protocol(limits: Limits) -> type[BoundedProtocol]:
    return type("Protocol", (BoundedProtocol,), {"limits": limits})


class Listener:
    """A web server on a socket of its own. `async with` starts and stops it.

    Args:
        taken: A socket that is bound already, to that host and port; closed with the listener.

    Attributes:
        port: The port in use, also when 0 was asked for.
    """

    def __init__(self, app: Asgi, host: str, port: int, http: Http, *, taken: socket.socket | None = None) -> None:
        context = tls_context(http.tls) if http.tls.enabled else None
        limits = limits_of(http)
        self.scheme = "https" if context else "http"
        self._socket = taken or bind(host, port)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=_protocol(limits),
            loop="none",
            lifespan="off",
            ws="none",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=max(1, round(limits.idle_s)),
            timeout_graceful_shutdown=5,
        )
        config.load()
        config.ssl = context
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where the page is, for people."""
        return url_of(self.scheme, self.host, self.port)

    async def __aenter__(self) -> Listener:
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="listener")
        started = asyncio.create_task(self._server.is_up.wait())
        await asyncio.wait({started, self._task}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._task.done():
            self._task.result()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Take no more connections, let requests end for five seconds, close. May be called twice."""
        task, self._task = self._task, None
        if task is not None:
            self._server.should_exit = True
            await task
        self._socket.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    def install_signal_handlers(self) -> None:
        """Signals are the lifecycle's business."""

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await self._serve(sockets)


def url_of(scheme: str, host: str, port: int) -> str:
    """Return a listener's address, for people."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket.

    Raises:
        ConfigInvalid: The address is taken, or is not this machine's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as exc:
        raise ConfigInvalid(f"`server.http.address`: {host} is no address: {exc.strerror}.") from exc
    family, kind, proto, _, address = found[0]
    listening = socket.socket(family, kind, proto)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as exc:
        listening.close()
        hint = " Another process listens there; `--http-address 127.0.0.1:0` takes a free port."
        raise ConfigInvalid(
            f"Cannot listen on {host}:{port}: {exc.strerror}.{hint if exc.errno == 98 or exc.errno == 48 else ''}"
        ) from exc
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return the listener's TLS context.

    Raises:
        ConfigInvalid: Certificate or key cannot be read, or do not belong together.
    """
    assert tls.cert_file is not None
    assert tls.key_file is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for name in (tls.cert_file, tls.key_file):
        if not Path(name).is_file():
            raise ConfigInvalid(f"`server.http.tls`: there is no file {name}.")
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    except (ssl.SSLError, OSError) as exc:
        raise ConfigInvalid(f"`server.http.tls`: {tls.cert_file} and {tls.key_file} cannot be used: {exc}.") from exc
    return context
