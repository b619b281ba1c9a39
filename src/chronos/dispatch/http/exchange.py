"""What an HTTP client is asked (`Wanted`), what it answers (`Read`), and the ways in which there is no answer."""

from __future__ import annotations

from typing import ClassVar, Protocol

from msgspec import Struct

from chronos.dispatch.http.answer import BodyReader
from chronos.dispatch.http.url import HttpUrl


class Wanted(Struct, frozen=True):
    """One request, ready to be written.

    Attributes:
        wire: Head and body, byte for byte.
        verify: Whether the far side's certificate is checked.
        is_fresh: A new connection is wanted: a kept one has just turned out to be closed.
        needs_right: It is not sent when the node's right to send is over.
    """

    url: HttpUrl
    method: str
    wire: bytes
    verify: bool = True
    is_fresh: bool = False
    needs_right: bool = True


class Read(Struct, frozen=True):
    """An answer as it was read: status, headers of interest, body. Headers that came more than once are joined.

    Attributes:
        is_bare: The status is all there is: no header of interest, no body, and nothing to note.
    """

    status: int
    location: str
    retry_after: list[str]
    body: BodyReader
    is_bare: bool = False


class Asker(Protocol):
    """Who has asked, and is told the one or the other, once."""

    def answered(self, read: Read) -> None:
        """The answer is there."""
        ...

    def failed(self, failure: BaseException) -> None:
        """There is none, or none that could be understood.

        Args:
            failure: `EgressRefused`: the guard forbids the place. `LookupFailed`: the name has no address.
                `RightOver`: this node may not send. `AnswerTooLarge`: what comes before the body breaks a limit.
                `Unanswered`: anything else that the outside world does. Whatever else it is, is a bug of ours.
        """
        ...


class Asked(Protocol):
    """A request on its way."""

    def stop(self) -> None:
        """Close its connection, or give its place in line back; the asker is told nothing any more.

        Nothing happens to one that was answered.
        """
        ...


class HttpClient(Protocol):
    """Sends one request and reads its answer within the limits, over connections that the egress guard has vetted."""

    def ask(self, wanted: Wanted, asker: Asker) -> Asked:
        """Send a request as soon as there is a connection, once; its asker is told later, on the loop.

        A body that breaks off, or breaks a limit, is noted in `Read.body`. The deadline is the caller's.
        """
        ...

    def warm(self, url: HttpUrl, count: int, *, verify: bool) -> None:
        """Make connections for a crowd of requests that will be asked soon, as many as are enough; nothing is sent.

        Whether they can be made is told to those who ask.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection. May be called twice."""
        ...


class RightOver(Exception):
    """The node's right to send was over before the first byte of the request."""


class Unanswered(Exception):
    """No answer came. The message says why, without the host; `error_class` is a stable word."""

    error_class: ClassVar[str] = "reset"


class ConnectFailed(Unanswered):
    """No connection was made."""

    error_class = "connect"


class TlsFailed(Unanswered):
    """The connection was made, but no trust was found."""

    error_class = "tls"


class Malformed(Unanswered):
    """What came is not an answer of HTTP/1."""

    error_class = "protocol"


class BrokenOff(Unanswered):
    """The connection ended before the answer's head did."""

    def __init__(self, message: str = "it closed the connection without an answer") -> None:
        super().__init__(message)


class StaleConnection(BrokenOff):
    """A connection that had been used before was closed without one byte of an answer."""
