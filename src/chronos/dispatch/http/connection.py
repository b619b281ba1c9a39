"""One connection: a request at a time, written at once; its answer is read in turns, so that others get theirs."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import ssl
import struct
from typing import Protocol, cast

from chronos.dispatch.http.answer import AnswerTooLarge
from chronos.dispatch.http.exchange import Asker, BrokenOff, Read, StaleConnection, Unanswered
from chronos.dispatch.http.reader import AnswerReader, Heads
from chronos.failpoints import reach

SLICE_BYTES = 16 * 1024
TURN_PIECES = 256


class Keeper(Protocol):
    """Who owns a connection and is told what becomes of it."""

    def settled(self, connection: Connection, *, is_reusable: bool) -> None:
        """The answer has been handed over; a connection that is not reusable is being closed."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is gone. Called once."""
        ...


class Connection(asyncio.Protocol):
    """Sends requests one after the other, and reads their answers.

    Attributes:
        address: The vetted address it was made to.
        idle_since: Boot time in seconds; the keeper's.
        use_until: Boot time in seconds; the keeper's.
        is_open: Not closed and not being closed.
        requests: How many were sent on it.
    """

    __slots__ = (
        "_asker",
        "_heads",
        "_keeper",
        "_loop",
        "_poll",
        "_reader",
        "_rest",
        "_transport",
        "address",
        "idle_since",
        "is_open",
        "requests",
        "use_until",
    )

    def __init__(self, keeper: Keeper, address: str, heads: Heads | None = None) -> None:
        self.address = address
        self.idle_since = self.use_until = 0.0
        self.is_open = False
        self.requests = 0
        self._keeper = keeper
        self._loop = asyncio.get_running_loop()
        self._asker: Asker | None = None
        self._reader = AnswerReader(heads)
        self._heads = self._reader.heads
        self._rest = b""

    def ask(self, wire: bytes, asker: Asker, *, is_head: bool) -> None:
        """Send a request; its asker is told the answer, or `AnswerTooLarge`, or `Unanswered`."""
        assert self._asker is None
        if is_head or not self._reader.is_fresh:
            self._reader.begin(is_bodyless=is_head)
        self.requests += 1
        self._asker = asker
        self._transport.write(wire)
        reach("dispatch.first-byte")

    def leave(self, asker: Asker) -> None:
        """Close, if it is this one who waits for an answer."""
        if self._asker is asker:
            self.close()

    def is_quiet(self) -> bool:
        """Whether nothing has come in unasked, an end of the connection neither; asks the kernel."""
        return self.is_open and not self._poll.poll(0)

    def close(self) -> None:
        """Close at once, without a goodbye; what was waited for is not answered any more. May be called twice.

        A request that is given up on its way is gone with the connection, also where a cut cable holds it up.
        """
        gives_up, self._asker = self._asker is not None, None
        self._rest = b""
        if self.is_open:
            self.is_open = False
            if gives_up:
                _forget_what_is_unsent(self._transport)
            self._transport.abort()

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS connection; None without TLS."""
        return cast("ssl.SSLObject | None", self._transport.get_extra_info("ssl_object"))

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        if self._asker is None:
            self.close()  # nobody has asked
        elif self._reader.is_fresh and (read := self._heads.whole(data)) is not None:
            self._hand_over(read, may_be_followed=True)
        elif len(data) <= SLICE_BYTES:
            self._feed(data)
            self._settle()
        else:
            self._rest = data
            self._take_turns()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._asker is not None:
            if error is None:
                self._reader.end()
            self._settle()
            self._fail(self._loss(error))
        self._reader.release()
        self._keeper.lost(self)

    def _take_turns(self) -> None:
        """Read what has come slice by slice; after many tiny pieces, go on when others have had a turn."""
        # Bounded by what one read of the socket brings; nothing is read meanwhile.
        while self._rest and self._asker is not None and not self._reader.is_spoilt:
            pieces = self._reader.pieces
            data, self._rest = self._rest[:SLICE_BYTES], self._rest[SLICE_BYTES:]
            self._feed(data)
            if self._rest and self._reader.pieces - pieces >= TURN_PIECES:
                self._transport.pause_reading()
                self._loop.call_soon(self._go_on)
                return
        self._settle()

    def _go_on(self) -> None:
        if self.is_open:
            self._transport.resume_reading()
            self._take_turns()

    def _feed(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except (AnswerTooLarge, Unanswered) as failure:
            self._fail(failure)

    def _settle(self) -> None:
        """Hand over the answer if it is complete, and the connection to whoever comes next if it is clean."""
        if self._asker is not None and self._reader.is_complete:
            self._hand_over(self._reader.read(), may_be_followed=self._reader.may_be_followed)

    def _hand_over(self, read: Read, *, may_be_followed: bool) -> None:
        asker, self._asker = self._asker, None
        assert asker is not None
        is_reusable = may_be_followed and self.is_open and not self._transport.get_write_buffer_size()
        if not is_reusable:
            self.close()
        self._keeper.settled(self, is_reusable=is_reusable)  # the next request may leave at once
        asker.answered(read)

    def _fail(self, failure: Exception) -> None:
        """End with a failure; but once the status has been said, a body that breaks off does not unsay it."""
        if self._asker is None:
            return
        if self._reader.body is not None:
            self._reader.cut()
            self._settle()
            return
        asker = self._asker
        self.close()
        asker.failed(failure)

    def _loss(self, error: Exception | None) -> Unanswered:
        if not self._reader.bytes and self.requests > 1:
            return StaleConnection("closed while it was idle")
        if isinstance(error, ssl.SSLError):
            return BrokenOff(f"TLS failed: {getattr(error, 'reason', None) or error}")
        return BrokenOff()


def _forget_what_is_unsent(transport: asyncio.Transport) -> None:
    """Have the kernel drop what it holds of a connection when that is closed.

    It would go on sending for minutes else, and what was given up would arrive when others have long run it.
    """
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOT_AT_ALL)


_NOT_AT_ALL = struct.pack("ii", 1, 0)
