"""The peer listener: takes connections, lets members in, and bounds what everybody else can cost."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import structlog

from chronos.cluster.peers.roster import Address, Identity, Roster
from chronos.cluster.peers.session import Handlers, Session
from chronos.cluster.peers.tls import Credentials
from chronos.errors import ConfigInvalid
from chronos.timing.clock import Clock

log = structlog.get_logger("chronos.peers")

HANDSHAKES_MAX = 64
"""Strangers may have so many connections at a time, for `HANDSHAKE_S` each."""

HANDSHAKE_S = 5.0
SESSIONS_MAX = 4
"""Of one member: one for its calls, one for what it fetches, and what it has not noticed yet to be gone."""

TOLD_EVERY_S = 10.0
CROWDED_S = 0.2
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class PeerListener:
    """Listens for members. `async with`; stopping twice, or unstarted, does nothing."""

    def __init__(
        self, at: Address, own: Identity, roster: Roster, credentials: Credentials, handlers: Handlers, clock: Clock
    ) -> None:
        self._at = at
        self._own = own
        self._roster = roster
        self._credentials = credentials
        self._handlers = handlers
        self._clock = clock
        self._socket: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sessions: list[Session] = []
        self._shaking = 0
        self._turned_away: Counter[str] = Counter()
        self._told_s = -TOLD_EVERY_S

    @property
    def address(self) -> Address:
        """Where it listens; the port is the real one."""
        assert self._socket is not None, "started"
        host, port = self._socket.getsockname()[:2]
        return Address(host, port)

    def members(self) -> list[str]:
        """Return who is connected."""
        return sorted({session.node for session in self._sessions if session.node})

    async def start(self) -> None:
        """Take connections from now on.

        Raises:
            ConfigInvalid: Nobody can listen there.
        """
        host, port = self._at
        try:
            self._socket = socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128
            )
        except OSError as exc:
            raise ConfigInvalid(f"`cluster.peer_address`: cannot listen on {self._at}: {exc.strerror}.") from exc
        self._socket.setblocking(False)
        self._spawn(self._accept(self._socket), "peer listener")

    async def stop(self) -> None:
        """Close every connection, and listen no longer."""
        found, self._socket = self._socket, None
        if found is None:
            return
        for session in self._sessions:
            session.dismiss("it shuts down")
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        found.close()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as exc:
                if exc.errno not in _NO_ROOM:
                    continue  # it was gone before we looked
                self._turn_away("no room", exc.strerror or "")
                await asyncio.sleep(CROWDED_S)
                continue
            if self._shaking >= HANDSHAKES_MAX:
                connection.close()
                self._turn_away("too many handshakes", "")
                continue
            self._shaking += 1
            self._spawn(self._serve(connection), "peer connection")

    async def _serve(self, connection: socket.socket) -> None:
        session = Session(self._own, self._roster, self._handlers, self._clock)
        try:
            if not await self._shake(connection, session):
                return
        finally:
            self._shaking -= 1
        self._sessions.append(session)
        try:
            self._make_room(session.node)
            await session.run()
        finally:
            self._sessions.remove(session)
            if session.stream.trouble:
                self._turn_away(session.stream.trouble, session.node)

    def _make_room(self, node: str) -> None:
        """Let the oldest connections of a member go: it may not have noticed yet that they are gone."""
        of_it = [one for one in self._sessions if one.node == node]
        for session in of_it[:-SESSIONS_MAX]:
            session.dismiss(f"`{node}` has {SESSIONS_MAX} newer connections")

    async def _shake(self, connection: socket.socket, session: Session) -> bool:
        remote = "unknown"
        try:
            remote = str(connection.getpeername()[0])
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: session.stream,
                connection,
                ssl=self._credentials.server(),
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=1.0,
            )
        except (ssl.SSLError, OSError, TimeoutError) as exc:
            connection.close()
            self._turn_away(f"no handshake: {getattr(exc, 'reason', None) or type(exc).__name__}", remote)
            return False
        return True

    def _turn_away(self, reason: str, who: str) -> None:
        """Count it, and tell of it: one line in ten seconds, whoever knocks."""
        self._turned_away[reason] += 1
        now_s = asyncio.get_running_loop().time()
        if now_s - self._told_s < TOLD_EVERY_S and len(self._turned_away) < 100:
            return
        log.warning("peer_turned_away", reason=reason, who=who, counted=dict(self._turned_away))
        self._turned_away.clear()
        self._told_s = now_s
