"""What an answer may cost us, and what it means. Pure."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence

from msgspec.structs import replace

from chronos.dispatch.port import Accepted, Answer, Delivered, Outcome, Refused
from chronos.dispatch.redaction import Redactor
from chronos.model.target import Completion, HttpTarget, StoreResponse
from chronos.timing.duration import HOUR_US, parse_duration
from chronos.timing.pace import parse_retry_after

BODY_BYTES_MAX = 1024 * 1024
WIRE_BYTES_MAX = 2 * BODY_BYTES_MAX
PIECES_MAX = 16 * 1024
HEAD_BYTES_MAX = 32 * 1024
HEADERS_MAX = 100
INFORMATIONAL_MAX = 10
RATIO_MAX = 100
RATIO_FREE_BYTES = 64 * 1024
EXCERPT_BYTES_MAX = 1024
STORED_BYTES_MAX = 64 * 1024

# Asking these again is worth it; every other 4xx says that the request itself is wrong.
_RETRIABLE = frozenset({408, 425, 429})
_GONE = 410
_ACCEPTED = 202
DEADLINE_US = HOUR_US
"""How long work may go on that its target has taken on, when the job does not say."""

_BEGINNING = b"HTTP/1."
_SHOWN_BYTES = 8  # too few to show much of a secret that is sent back
_BLANK_LINE = re.compile(rb"\n\r?\n")


class AnswerTooLarge(Exception):
    """The target's answer breaks a limit before it says anything; the message says which."""


class NotHttp(Exception):
    """What comes in does not begin like an answer of HTTP/1; the message says how it begins."""


class HeadWatch:
    """Watches the bytes before an answer's body: how they begin, their size, and how many 1xx come first.

    Attributes:
        size: Bytes of all heads that are complete, blank lines included.
        ended: The final head is complete.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._informational = 0
        self.size = 0
        self.ended = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes; what follows the final head is ignored.

        Raises:
            AnswerTooLarge: A head has more than 32 KiB or 100 headers, or more than 10 heads are informational.
            NotHttp: A head is none.
        """
        if self.ended:
            return
        self._buffer += data
        # Bounded: every turn takes one informational head, and there are at most ten.
        while not self.ended and (end := _BLANK_LINE.search(self._buffer)):
            head, self._buffer = self._buffer[: end.start()], self._buffer[end.end() :]
            self.size += end.end()
            self._check(head)
            self._count(head)
        if not self.ended:
            self._check(self._buffer)

    def _check(self, head: bytes) -> None:
        if not _BEGINNING.startswith(head[: len(_BEGINNING)]):
            raise NotHttp(f"it begins with {head[:_SHOWN_BYTES]!r}")
        if len(head) > HEAD_BYTES_MAX:
            raise AnswerTooLarge(f"the answer's headers are larger than {HEAD_BYTES_MAX // 1024} KiB")
        if head.count(b"\n") > HEADERS_MAX:
            raise AnswerTooLarge(f"the answer has more than {HEADERS_MAX} headers")

    def _count(self, head: bytes) -> None:
        status = head.partition(b" ")[2][:3]
        if status[:1] != b"1" or status == b"101":
            self.ended, self._buffer = True, b""
            return
        self._informational += 1
        if self._informational > INFORMATIONAL_MAX:
            raise AnswerTooLarge(f"the answer begins with more than {INFORMATIONAL_MAX} informational responses")


def is_one_head(data: bytes) -> bool:
    """Whether `data` begins with one final head that is complete, plain, and within the limits of `HeadWatch`.

    False says only that `HeadWatch` has to look.
    """
    end = data.find(b"\r\n\r\n")
    return (
        0 < end <= HEAD_BYTES_MAX
        and data.startswith(_BEGINNING)
        and data[9:10] != b"1"
        and data.count(b"\n", 0, end) < HEADERS_MAX
        and data.find(b"\n ", 0, end) < 0
        and data.find(b"\n\t", 0, end) < 0
    )


class BodyReader:
    """Takes an answer's body in pieces, unpacked, up to 1 MiB and a ratio of 100:1.

    Attributes:
        full: Nothing more is wanted.
        pieces: How many have come.
        notes: What was cut and why.
    """

    def __init__(self, encoding: str) -> None:
        self._unpack = _Unpacker(encoding) if encoding in ("gzip", "x-gzip", "deflate") else None
        self._wire = 0
        self.pieces = 0
        self.data = bytearray()
        self.full = False
        self.notes: list[str] = []
        if encoding not in ("", "identity") and self._unpack is None:
            self.notes.append("body kept packed: its content encoding is not known here")

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body as it came off the wire."""
        self._wire += len(piece)
        self.pieces += 1
        room = BODY_BYTES_MAX - len(self.data)
        allowed = max(0, RATIO_FREE_BYTES + RATIO_MAX * self._wire - len(self.data))
        try:
            # One byte more than is allowed shows that there is more.
            plain = self._unpack(piece, min(room, allowed) + 1) if self._unpack else piece
        except zlib.error:
            self._stop("body cut: it does not unpack")
            return
        self.data += plain[: min(room, allowed) if self._unpack else room]
        if len(plain) > room:
            self._stop("body cut at 1 MiB")
        elif self._unpack and len(plain) > allowed:
            self._stop(f"body cut: it unpacks to more than {RATIO_MAX} times its size")

        elif self.pieces >= PIECES_MAX:
            # A mebibyte in chunks of one byte would keep this process busy for seconds.
            self._stop(f"body cut: it comes in more than {PIECES_MAX:,} pieces")

    def _stop(self, note: str) -> None:
        self.full = True
        self.notes.append(note)

    def answer(self, status: int, store: StoreResponse, redactor: Redactor) -> Answer:
        """Return the answer, bounded and redacted."""
        if not self.data:
            return Answer(status_code=status, notes=tuple(self.notes))
        data = bytes(self.data)
        excerpt = b"" if store is StoreResponse.NONE else redactor.head(data, EXCERPT_BYTES_MAX)
        return Answer(
            status_code=status,
            body_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            excerpt=printable(excerpt),
            body=redactor.head(data, STORED_BYTES_MAX) if store is StoreResponse.NODE else b"",
            notes=tuple(self.notes),
        )


class _Unpacker:
    """gzip and both things that are called deflate, with a bound on every step."""

    def __init__(self, encoding: str) -> None:
        self._object = zlib.decompressobj(zlib.MAX_WBITS | 16 if encoding != "deflate" else zlib.MAX_WBITS)
        self._may_be_bare = encoding == "deflate"

    def __call__(self, piece: bytes, size_max: int) -> bytes:
        try:
            plain = self._object.decompress(piece, size_max)
        except zlib.error:
            if not self._may_be_bare:
                raise
            self._object = zlib.decompressobj(-zlib.MAX_WBITS)
            plain = self._object.decompress(piece, size_max)
        self._may_be_bare = False
        return plain


def printable(data: bytes) -> str:
    """Return `data` as at most 1 KiB of UTF-8 text without control characters."""
    text = data.decode("utf-8", "replace")
    if text.isascii() and text.isprintable():
        return text[:EXCERPT_BYTES_MAX]
    text = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text.encode()[:EXCERPT_BYTES_MAX].decode("utf-8", "ignore")


def judge(target: HttpTarget, answer: Answer, retry_after: Sequence[str], now_s: float, *, resent: bool) -> Outcome:
    """Return what an answered request came to."""
    status = answer.status_code
    assert status is not None
    if status == _ACCEPTED and target.completion is Completion.CALLBACK:
        return Accepted(
            answer,
            deadline_us=parse_duration(target.deadline) if target.deadline else DEADLINE_US,
            heartbeat_us=parse_duration(target.heartbeat) if target.heartbeat else 0,
            resent=resent,
        )
    if status in target.success_codes if target.success_codes else 200 <= status <= 299:
        return Delivered(answer=answer, resent=resent)
    retriable = status in _RETRIABLE or 500 <= status <= 599
    wish = parse_retry_after(retry_after, now_s) if retry_after else None
    if retry_after and wish is None:
        answer = replace(answer, notes=(*answer.notes, "Retry-After ignored: it cannot be understood"))
    return Refused(
        reason=_sentence(status),
        error_class="http_status",
        answer=answer,
        permanent=not retriable,
        retry_after_s=wish if retriable else None,
        gone=status == _GONE,
        resent=resent,
    )


def _sentence(status: int) -> str:
    if 300 <= status <= 399:
        return f"the target answered {status}, a redirect that is not followed"
    if status == _GONE:
        return "the target answered 410: it is gone and will not come back"
    return f"the target answered {status}"
