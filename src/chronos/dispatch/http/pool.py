"""Connections kept for the next request: the one used last goes first, and nothing is searched."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress
from functools import partial

from chronos.dispatch.http.connection import Connection
from chronos.dispatch.http.connector import Connector
from chronos.dispatch.http.exchange import Asker, BrokenOff, RightOver, Wanted
from chronos.dispatch.http.sessions import Place
from chronos.dispatch.http.url import HttpUrl
from chronos.dispatch.right import RightToSend
from chronos.timing.clock import Clock

SWEEP_S = 0.5
"""How often connections that have been idle for too long are looked for."""

AGE_S = 60.0
AGE_SPREAD_S = 60.0
"""A connection is used for one to two minutes, not all to the same second: then the name is looked up anew."""

CONNECTING_MAX = 32
"""Connections to one place that are being made at a time."""

ENOUGH = 128
"""A crowd of requests to a quick target is carried by so many connections, used again and again: each that is made
costs both sides more than ten requests. To a slow target they become as many as are needed."""

LOOK_S, LATE_S, WIDER = 0.025, 0.005, 4
"""How often it is looked whether they are enough: where requests wait, and fewer answers have come than there are
connections, there may be so many times as many. A busy machine holds a quick target up for ten milliseconds, too."""

CLOSE_S = 1.0
"""How long `aclose` waits for what it has closed to be gone."""


_Making = asyncio.Task[tuple[Connection, frozenset[str]]]
"""What becomes of a connection that is being made: itself, and the addresses that were vetted for it."""


class HotClient:
    """HTTP/1.1 on our own connections: a pool for each place, no proxy, no environment.

    A kept connection is used only while its address is among those that were vetted last for its place.

    Args:
        per_place_max: Connections to one place at a time; who comes later waits, first come, first served.
        idle_max: Connections kept at a time, over all places.
        idle_s: How long one is kept unused.
        right: This node's right to send; None where it needs none.
    """

    def __init__(
        self,
        connector: Connector,
        clock: Clock,
        *,
        per_place_max: int,
        idle_max: int,
        idle_s: float,
        right: RightToSend | None = None,
    ) -> None:
        self._right = right
        self._connector = connector
        self._clock = clock
        self._per_place_max = per_place_max
        self._idle_max = idle_max
        self._idle_s = idle_s
        self._rows: dict[Place, _Row] = {}
        self._oldest: OrderedDict[Connection, _Row] = OrderedDict()
        self._made = 0
        self._makings: set[_Making] = set()
        self._sweep_at: asyncio.TimerHandle | None = None

    @property
    def places(self) -> list[Place]:
        """The places that there are connections to."""
        return list(self._rows)

    def ask(self, wanted: Wanted, asker: Asker) -> _Asked:
        """Send, now or when there is a connection; see `HttpClient.ask`."""
        url = wanted.url
        place = (url.scheme, url.host, url.port, wanted.verify)
        row = self._rows.get(place) or self._row(place)
        asked = _Asked(self, row, wanted, asker)
        connection = self._take(row) if row.idle and not wanted.is_fresh else None
        if connection is None:
            self.line_up(asked)
        else:
            asked.send(connection)
        return asked

    async def aclose(self) -> None:
        """Close what is kept. What is in use ends with its exchange. May be called twice."""
        if self._sweep_at is not None:
            self._sweep_at.cancel()
            self._sweep_at = None
        self._connector.sessions.clear()
        for making in self._makings:
            making.cancel()
        for row in self._rows.values():
            row.stop_looking()
        rows = {row: len(row.open) - len(row.idle) for row in self._oldest.values()}
        while self._oldest:
            self._close_oldest()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                for row, in_use in rows.items():
                    await row.shrunk(in_use)
                while self._makings:
                    await asyncio.wait(self._makings)

    def may_send(self, wanted: Wanted) -> bool:
        """Return whether the first byte of a request may leave now."""
        return self._right is None or not wanted.needs_right or self._right.holds()

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

    def line_up(self, asked: _Asked) -> None:
        """See that a request gets a connection: a new one, or one that becomes free while the place is full."""
        row = asked.row
        if row.connecting >= CONNECTING_MAX or row.taken >= row.enough:
            if row.look is None and row.enough < self._per_place_max:
                row.look_again()
            row.line_up(asked)  # bounded by its deadline; who is woken for nothing goes to the end of the line
            return
        asked.wait_for(self._make(row, asked))

    def warm(self, url: HttpUrl, count: int, *, verify: bool) -> None:
        """See `HttpClient.warm`. Nothing that is kept is closed for it."""
        row = self._row((url.scheme, url.host, url.port, verify))
        row.ahead = min(count, row.enough, self._idle_max - len(self._oldest))
        # Bounded by what may be made at a time: who makes one counts at once. The others follow one by one.
        while row.taken < row.ahead and row.connecting < CONNECTING_MAX:
            self._make(row, None)
        self.tidy(row)

    def _row(self, place: Place) -> _Row:
        row = self._rows.get(place)
        if row is None:
            row = self._rows[place] = _Row(self, place, min(ENOUGH, self._per_place_max))
        return row

    def _make(self, row: _Row, asked: _Asked | None) -> _Making:
        row.taken += 1
        row.connecting += 1
        making = asyncio.get_running_loop().create_task(self._connector.connect(row.place, row))
        self._makings.add(making)
        making.add_done_callback(partial(self._has_made, row, asked))
        return making

    def _has_made(self, row: _Row, asked: _Asked | None, making: _Making) -> None:
        """A connection was made for `asked`, or for whoever comes, or could not be."""
        self._makings.discard(making)
        row.connecting -= 1
        failure = BrokenOff("the client was closed") if making.cancelled() else making.exception()
        if failure is None:
            connection, row.vetted = making.result()
            failure = None if connection.is_open else BrokenOff()
        if failure is not None:
            row.ahead = 0
            self.leave(row)
            if asked is not None:
                asked.fail(failure)
            return
        self._made += 1
        connection.use_until = self._clock.boottime() + AGE_S + self._made % AGE_SPREAD_S
        row.open.add(connection)
        if row.taken < row.enough and not row.hand_on(None) and row.taken < row.ahead:
            self._make(row, None)  # so many were being made that this one had to wait
        if asked is None or not asked.given(connection):
            self.keep(row, connection)

    def widen(self, row: _Row) -> None:
        """Let those who wait at a place that is slow to answer make connections of their own."""
        row.enough = min(WIDER * row.enough, self._per_place_max)
        # Bounded by what may be made at a time: who makes one counts at once.
        while row.taken < row.enough and row.connecting < CONNECTING_MAX and row.hand_on(None):
            pass

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
            row.stop_looking()
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
        enough: How many there may be for now, never more than the bound.
        ahead: How many are made before anybody asks.
        look: The next look whether they are enough; None while nobody waits.
    """

    def __init__(self, client: HotClient, place: Place, enough: int) -> None:
        self._client = client
        self.place = place
        self.taken = 0
        self.connecting = 0
        self.enough = enough
        self.ahead = 0
        self._answers = 0
        self._look_at = 0.0
        self.look: asyncio.TimerHandle | None = None
        self.vetted: frozenset[str] = frozenset()
        self.open: set[Connection] = set()
        self.idle: deque[Connection] = deque()
        self._line: OrderedDict[_Asked, None] = OrderedDict()
        self._shrinks = asyncio.Event()

    def settled(self, connection: Connection, *, is_reusable: bool) -> None:
        """See `Keeper.settled`."""
        self._answers += 1
        if connection.requests == 1:
            self._client.first_answer(self, connection)
        if is_reusable and not (self._line and self.hand_on(connection)):
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

    def line_up(self, asked: _Asked) -> None:
        """Let a request wait for a connection that becomes free, or for room to make one."""
        self._line[asked] = None

    def look_again(self) -> None:
        """See in a moment whether there are enough connections for those who wait."""
        loop = asyncio.get_running_loop()
        self._answers, self._look_at = 0, loop.time() + LOOK_S
        self.look = loop.call_later(LOOK_S, self._look_now)

    def stop_looking(self) -> None:
        """Forget that somebody waited."""
        if self.look is not None:
            self.look.cancel()
            self.look = None

    def _look_now(self) -> None:
        self.look = None
        if self._line:
            is_late = asyncio.get_running_loop().time() > self._look_at + LATE_S
            # Who is late itself has left answers unread, and can judge nobody.
            if self._answers < self.taken and not is_late:
                self._client.widen(self)
            if self._line:
                self.look_again()

    def step_out(self, asked: _Asked) -> None:
        """Forget a request that waits; nothing happens to one that does not."""
        self._line.pop(asked, None)

    def hand_on(self, connection: Connection | None) -> bool:
        """Give a connection, or the room to make one (None), to who waits longest; returns whether anybody did."""
        if not self._line:
            return False
        asked, _ = self._line.popitem(last=False)
        asked.given(connection)
        return True


class _Asked:
    """A request: stands in line, or has a connection made for it, or waits for its answer."""

    __slots__ = ("_asker", "_client", "_connection", "_is_over", "_making", "_wanted", "row")

    def __init__(self, client: HotClient, row: _Row, wanted: Wanted, asker: Asker) -> None:
        self._client = client
        self.row = row
        self._wanted = wanted
        self._asker = asker
        self._making: _Making | None = None
        self._connection: Connection | None = None
        self._is_over = False

    def send(self, connection: Connection) -> None:
        """Ask over this connection; whatever comes of it is told by it."""
        if not self._client.may_send(self._wanted):
            connection.close()  # given to the next in line, each would be told on the stack of the one before
            asyncio.get_running_loop().call_soon(self.fail, RightOver())
            return
        self._connection = connection
        connection.ask(self._wanted.wire, self._asker, is_head=self._wanted.method == "HEAD")

    def wait_for(self, making: _Making) -> None:
        """A connection is being made for this one."""
        self._making = making

    def given(self, connection: Connection | None) -> bool:
        """Use a connection, or the room to make one (None); returns whether anybody is left who could."""
        self._making = None
        if self._is_over:
            return False
        if connection is not None and not self._wanted.is_fresh:
            self.send(connection)
        elif connection is None:
            self._client.line_up(self)
        elif connection.requests:
            connection.close()
            self._client.line_up(self)
        else:
            self.send(connection)
        return True

    def fail(self, failure: BaseException) -> None:
        """There is no connection."""
        self._making = None
        if not self._is_over:
            self._is_over = True
            self._asker.failed(failure)

    def stop(self) -> None:
        """See `Asked.stop`."""
        self._is_over = True
        if self._connection is not None:
            self._connection.leave(self._asker)
        elif self._making is not None:
            self._making.cancel()
        else:
            self.row.step_out(self)
