"""From the bytes of an answer to what it says. Never waits, knows no socket; counts a byte before it is believed."""

from __future__ import annotations

import re

import httptools

from chronos.dispatch.http.answer import (
    HEAD_BYTES_MAX,
    INFORMATIONAL_MAX,
    WIRE_BYTES_MAX,
    AnswerTooLarge,
    BodyReader,
    HeadWatch,
    NotHttp,
    is_one_head,
)
from chronos.dispatch.http.exchange import Malformed, Read

ANSWER_BYTES_MAX = WIRE_BYTES_MAX + HEAD_BYTES_MAX * (INFORMATIONAL_MAX + 1)
SWITCHING = 101

_OF_INTEREST = frozenset({b"content-encoding", b"content-length", b"location", b"retry-after", b"transfer-encoding"})
_LENGTH = b"content-length"
_END = b"\r\n\r\n"
_FOLD = re.compile(rb"\r?\n[ \t]+")
_CUT = "body cut: the connection broke off or its framing is wrong"


HEADS_KEPT = 256
HEAD_KEPT_BYTES_MAX = 1024


class Heads:
    """What heads of answers say, by their bytes. Servers repeat themselves: but for the date, which changes once a
    second, most answers of a target begin alike, and reading a head costs more than all that is done with it.

    Kept are heads of answers that came at once and whole, say nothing of interest but the length of the body, and
    leave the connection usable. The same bytes mean the same again, wherever an answer begins.
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[Read, int]] = {}

    def whole(self, data: bytes) -> Read | None:
        """Return the answer that `data` is, if it has a head that is known and exactly the body that it speaks of."""
        end = data.find(_END) + len(_END)
        known = self._kept.get(data[:end])
        if known is None or len(data) - end != known[1]:
            return None
        if not known[1]:
            return known[0]
        body = BodyReader("")
        body.feed(data[end:])
        return Read(known[0].status, "", [], body)

    def learn(self, data: bytes, status: int) -> None:
        """Keep the head of an answer that was exactly `data`."""
        end = data.find(_END) + len(_END)
        if end <= HEAD_KEPT_BYTES_MAX:
            if len(self._kept) >= HEADS_KEPT:
                self._kept.clear()  # most of them name a second that is over
            self._kept[data[:end]] = (Read(status, "", [], BodyReader(""), is_bare=True), len(data) - end)


class _Enough(Exception):
    """Nothing more of this answer is wanted."""


class AnswerReader:
    """Reads the answers of one connection, one after the other.

    Args:
        heads: What is known of heads; it may be shared with others.

    Attributes:
        heads: What is known of heads. While the reader `is_fresh`, what they say of an answer that has come whole is
            what `feed` and `read` would say, and it need not be fed.
        is_fresh: Nothing has come of this answer, and it has a body or may have one.
        bytes: What has come of this answer.
        pieces: What the parser has told of it: pieces of the body, and trailers.
        body: None until the final head is complete.
        is_complete: Nothing more belongs to this answer, or nothing more is wanted.
        is_spoilt: More has come than belongs to it, or the rest is not wanted: no answer can follow.
    """

    __slots__ = (
        "_found",
        "_held",
        "_is_bodyless",
        "_is_framed",
        "_is_head_over",
        "_is_plain",
        "_keeps_alive",
        "_parser",
        "_status",
        "_watch",
        "body",
        "bytes",
        "heads",
        "is_complete",
        "is_fresh",
        "is_spoilt",
        "pieces",
    )

    _found: list[tuple[bytes, bytes]]
    _held: bytes
    _watch: HeadWatch | None
    body: BodyReader | None

    def __init__(self, heads: Heads | None = None) -> None:
        self.heads = heads if heads is not None else Heads()
        self._is_bodyless = True  # so that the first answer gets a parser
        self.is_fresh = False
        self.begin(is_bodyless=False)

    def begin(self, *, is_bodyless: bool) -> None:
        """Expect the next answer; to a HEAD request it has no body, whatever it says."""
        if self.is_fresh and not is_bodyless:
            return  # as it is after an answer that was not fed
        if self._is_bodyless:
            self._parser = self._new_parser()  # the one before goes on waiting for the body that never comes
        self._is_bodyless = is_bodyless
        self.is_fresh = not is_bodyless
        self._found = []
        self._held = b""
        self._watch = None
        self._status = 0
        self._is_head_over = self._is_plain = self._is_framed = self._keeps_alive = False
        self.body = None
        self.bytes = self.pieces = 0
        self.is_complete = self.is_spoilt = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            AnswerTooLarge: A limit is broken.
            Malformed: This is not an answer of HTTP/1.
        """
        self.is_fresh = False
        self.bytes += len(data)
        if self.bytes > ANSWER_BYTES_MAX:
            raise AnswerTooLarge(f"the answer is larger than {WIRE_BYTES_MAX // 1024**2} MiB on the wire")
        if self._is_head_over:
            self._parse(data)
        elif self.bytes == len(data) and is_one_head(data):
            self._is_head_over = True  # nearly always: the whole head comes at once
            self._parse(data)
            if self.is_complete and self._is_plain and self.may_be_followed and not self._is_bodyless:
                self.heads.learn(data, self._status)
        else:
            self._watch_head(data)

    def end(self) -> None:
        """The far side has ended the connection in good order: a body without a length is complete."""
        if self.body is not None and not self._is_framed:
            self.is_complete = self.is_spoilt = True

    def cut(self) -> None:
        """Settle for the part of the body that has come; needs a `body`."""
        assert self.body is not None
        self.body.notes.append(_CUT)
        self.is_complete = self.is_spoilt = True

    def read(self) -> Read:
        """Return the answer, once it is complete."""
        assert self.body is not None
        if self._is_plain:
            return Read(self._status, "", [], self.body)
        return Read(self._status, _joined(self._values(b"location")), self._values(b"retry-after"), self.body)

    @property
    def may_be_followed(self) -> bool:
        """Whether the connection can carry another answer after this one, as far as the answer says.

        After one with both a length and chunks it cannot: nobody knows where it ends.

        Source: RFC 9112, section 6.3.
        """
        return self._keeps_alive and not self.is_spoilt and not self._is_framed_twice()

    def release(self) -> None:
        """Let go of the parser; it knows us as we know it."""
        del self._parser

    # What the parser says.

    def on_message_begin(self) -> None:
        if self.is_complete:
            self.is_spoilt = True
        elif self._found:
            self._found = []  # of the informational answer before

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.body is not None:
            self.pieces += 1  # a trailer: nothing that it could say is heeded
            return
        name = name.lower()
        if name in _OF_INTEREST:
            self._found.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 100:
            raise Malformed(f"the answer is not HTTP: its status is {status}")
        if status < 200 or self.is_complete:
            return
        self._status = status
        found = self._found
        self._is_plain = not found or (len(found) == 1 and found[0][0] == _LENGTH)
        if self._is_plain:  # nearly always: a length at most
            self._is_framed = bool(found)
            self.body = BodyReader("")
        else:
            self._judge_framing()
        if self._is_bodyless:
            self._keeps_alive = self._parser.should_keep_alive()
            self.is_complete = True

    def _judge_framing(self) -> None:
        codings = self._values(b"transfer-encoding")
        if codings and [coding.strip().lower() for coding in codings] != ["chunked"]:
            raise Malformed("the answer is not HTTP: its transfer encoding is not known here")
        self._is_framed = bool(codings) or any(name == _LENGTH for name, _ in self._found)
        self.body = BodyReader(_joined(self._values(b"content-encoding")).lower())

    def on_body(self, piece: bytes) -> None:
        if self.body is None or self.is_complete:
            self.is_spoilt = True
            raise _Enough
        self.pieces += 1
        self.body.feed(piece)
        if self.body.full:
            raise _Enough

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status == SWITCHING:
            raise Malformed("the answer is not HTTP: it switches protocols")
        if status >= 200 and not self.is_complete:
            self._keeps_alive = self._parser.should_keep_alive()
            self.is_complete = True

    def _watch_head(self, data: bytes) -> None:
        """Hold back what comes until all of the head is there and within its limits, then parse it."""
        watch = self._watch = self._watch or HeadWatch()
        self._held += data
        try:
            watch.feed(data)
        except NotHttp as wrong:
            raise Malformed(f"the answer is not HTTP/1: {wrong}") from None
        if watch.ended:
            held, self._held = self._held, b""
            self._is_head_over = True
            # Unfolded here, because the parser takes folded lines only together with worse things.
            self._parse(_FOLD.sub(b" ", held[: watch.size]) + held[watch.size :])

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as stopped:
            if isinstance(stopped.__context__, _Enough):
                self.is_complete = self.is_spoilt = True
            elif stopped.__context__ is not None:
                raise stopped.__context__ from None
            else:
                raise
        except httptools.HttpParserError as wrong:
            if not self.is_complete:
                raise Malformed(f"the answer is not HTTP: {wrong}") from None
            self.is_spoilt = True

    def _new_parser(self) -> httptools.HttpResponseParser:
        parser = httptools.HttpResponseParser(self)
        # Both are allowed by RFC 9112 (2.2 and 6.3); what has a length and chunks is not followed by another answer.
        parser.set_dangerous_leniencies(lenient_chunked_length=True, lenient_optional_cr_before_lf=True)
        return parser

    def _is_framed_twice(self) -> bool:
        return len(self._found) > 1 and {_LENGTH, b"transfer-encoding"} <= {name for name, _ in self._found}

    def _values(self, wanted: bytes) -> list[str]:
        return [value.decode("latin-1") for name, value in self._found if name == wanted]


def _joined(values: list[str]) -> str:
    return values[0].strip() if len(values) == 1 else ",".join(values)
