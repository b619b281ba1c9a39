"""Connections kept for the next request: the one used last goes first, and nothing is searched."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress

from chronos.dispatch.http.connection import Connection
from chronos.dispatch.http.connector import Connector
from chronos.dispatch.http.exchange import BrokenOff, Read, Wanted
from chronos.dispatch.http.sessions import Place
from chronos.timing.clock import Clock

SWEEP_S = 0.5
"""How often connections that have been idle for too long are looked for."""

AGE_S = 60.0
AGE_SPREAD_S = 60.0
"""A connection is used for one to two minutes, not all to the same second: then the name is looked up anew."""

CONNECTING_MAX = 32
"""Connections to one place that are being made at a time. A burst to a quick target is carried by a few, used again
and again, and each that is made costs more than ten requests; to a slow one they become as many as are needed."""

CLOSE_S = 1.0
"""How long `aclose` waits for what it has closed to be gone."""


class HotClient:
    """HTTP/1.1 on our own connections: a pool for each place, no proxy, no environment.

    A kept connection is used only while its address is among those that were vetted last for its place.

    Args:
        per_place_max: Connections to one place at a time; who comes later waits, first come, first served.
        idle_max: Connections kept at a time, over all places.
        idle_s: How long one is kept unused.
    """

    def __init__(self, connector: Connector, clock: Clock, *, per_place_max: int, idle_max: int, idle_s: float) -> None:
        self._connector = connector
        self._clock = clock
        self._per_place_max = per_place_max
        self._idle_max = idle_max
        self._idle_s = idle_s
        self._rows: dict[Place, _Row] = {}
        self._oldest: OrderedDict[Connection, _Row] = OrderedDict()
        self._made = 0
        self._sweep_at: asyncio.TimerHandle | None = None

    @property
    def places(self) -> list[Place]:
        """The places that there are connections to."""
        return list(self._rows)

    async def exchange(self, wanted: Wanted) -> Read:
        """Send and read; see `HttpClient.exchange`."""
        url = wanted.url
        place = (url.scheme, url.host, url.port, wanted.verify)
        row = self._rows.get(place)
        if row is None:
            row = self._rows[place] = _Row(self, place)
        connection = None if wanted.is_fresh else self._take(row)
        if connection is None:
            connection = await self._connection(row, is_fresh=wanted.is_fresh)
        try:
            return await connection.ask(wanted.wire, is_head=wanted.method == "HEAD")
        except asyncio.CancelledError:
            connection.close()
            raise

    async def aclose(self) -> None:
        """Close what is kept. What is in use ends with its exchange. May be called twice."""
        if self._sweep_at is not None:
            self._sweep_at.cancel()
            self._sweep_at = None
        self._connector.sessions.clear()
        rows = {row: len(row.open) - len(row.idle) for row in self._oldest.values()}
        while self._oldest:
            self._close_oldest()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                for row, in_use in rows.items():
                    await row.shrunk(in_use)

    def _take(self, row: _Row) -> Connection | None:
        # Bounded by what is kept: every turn takes one out.
        while row.idle:
            connection = row.idle.pop()
            del self._oldest[connection]
            if self._is_good(row, connection):
                return connection
            connection.close()
        return None

    def _is_good(self, row: _Row, connection: Connection) -> bool:
        now = self._clock.boottime()
        return (
            now - connection.idle_since < self._idle_s
            and now < connection.use_until
            and connection.address in row.vetted
            and connection.is_quiet()
        )

    async def _connection(self, row: _Row, *, is_fresh: bool) -> Connection:
        """Return a connection for one request: a new one, or one that becomes free while the place is full."""
        # Bounded by the caller's deadline; a waiter that is woken for nothing goes to the end of the line.
        while row.taken >= self._per_place_max or row.connecting >= CONNECTING_MAX:
            connection = await row.wait()
            if connection is not None and not is_fresh:
                return connection
            if connection is not None:
                connection.close()
        connection = await self._new(row)
        self._made += 1
        connection.use_until = self._clock.boottime() + AGE_S + self._made % AGE_SPREAD_S
        row.open.add(connection)
        return connection

    async def _new(self, row: _Row) -> Connection:
        row.taken += 1
        row.connecting += 1
        try:
            connection, row.vetted = await self._connector.connect(row.place, row)
            if not connection.is_open:
                raise BrokenOff
        except BaseException:
            row.connecting -= 1
            self.leave(row)
            raise
        row.connecting -= 1
        if row.taken < self._per_place_max:
            row.hand_on(None)  # who waited because so many were being made may make one now
        return connection

    def keep(self, row: _Row, connection: Connection) -> None:
        """Keep a connection for the next request, or give it to who waits for one."""
        if row.hand_on(connection):
            return
        connection.idle_since = self._clock.boottime()
        row.idle.append(connection)
        self._oldest[connection] = row
        if len(self._oldest) > self._idle_max:
            self._close_oldest()
        if self._sweep_at is None:
            self._sweep_at = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def drop(self, row: _Row, connection: Connection) -> None:
        """A connection is gone, whether it was in use or kept."""
        if self._oldest.pop(connection, None) is not None:
            row.idle.remove(connection)
        if connection in row.open:
            row.open.discard(connection)
            row.notice()
            self.leave(row)

    def leave(self, row: _Row) -> None:
        """One connection fewer at this place."""
        row.taken -= 1
        if not row.hand_on(None):
            self.tidy(row)

    def tidy(self, row: _Row) -> None:
        """Forget a place without connections."""
        if not row.taken:
            self._rows.pop(row.place, None)

    def first_answer(self, row: _Row, connection: Connection) -> None:
        """The first answer on a connection has been read."""
        if (tls := connection.tls) is not None:
            self._connector.sessions.keep(row.place, tls)

    def _sweep(self) -> None:
        """Close what nobody has asked for in time, also when no request comes any more; ends when nothing is kept."""
        self._sweep_at = None
        limit = self._clock.boottime() - self._idle_s
        while self._oldest and next(iter(self._oldest)).idle_since <= limit:
            self._close_oldest()
        if self._oldest:
            self._sweep_at = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _close_oldest(self) -> None:
        connection, row = self._oldest.popitem(last=False)
        row.idle.remove(connection)  # at its left end: at its place, too, it is the oldest
        connection.close()


class _Row:
    """The connections to one place.

    Attributes:
        taken: Connections there are, those being made included.
        connecting: Those being made.
        vetted: What the guard allowed when the last one was made.
    """

    def __init__(self, client: HotClient, place: Place) -> None:
        self._client = client
        self.place = place
        self.taken = 0
        self.connecting = 0
        self.vetted: frozenset[str] = frozenset()
        self.open: set[Connection] = set()
        self.idle: deque[Connection] = deque()
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._shrinks = asyncio.Event()

    def settled(self, connection: Connection, *, is_reusable: bool) -> None:
        """See `Keeper.settled`."""
        if connection.requests == 1:
            self._client.first_answer(self, connection)
        if is_reusable:
            self._client.keep(self, connection)

    def lost(self, connection: Connection) -> None:
        """See `Keeper.lost`."""
        self._client.drop(self, connection)

    async def shrunk(self, size: int) -> None:
        """Wait until no more than `size` connections are open. The deadline is the caller's."""
        while len(self.open) > size:
            self._shrinks.clear()
            await self._shrinks.wait()

    def notice(self) -> None:
        """Let `shrunk` look again."""
        self._shrinks.set()

    async def wait(self) -> Connection | None:
        """Wait for a connection that becomes free, or for room to make one (None)."""
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._pass_on(waiter.result())
            raise

    def hand_on(self, connection: Connection | None) -> bool:
        """Wake who waits longest; returns whether anybody did."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _pass_on(self, given: Connection | None) -> None:
        # What was given to somebody who left is the next one's.
        if given is not None and given.is_open:
            self._client.keep(self, given)
        elif not self.hand_on(None):
            self._client.tidy(self)
