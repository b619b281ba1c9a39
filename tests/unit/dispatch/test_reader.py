"""From bytes to answers: the same whatever pieces they come in, and never more than is allowed."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.dispatch.http.answer import AnswerTooLarge
from chronos.dispatch.http.exchange import Malformed
from chronos.dispatch.http.reader import HEADS_KEPT, AnswerReader, Heads

OK = b"HTTP/1.1 200 OK\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nLocation: /elsewhere\r\n\r\n"
ANSWERS = {
    "length": OK + b"Content-Length: 5\r\n\r\nhello",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nRetry-After: 9\r\n\r\n",
    "hints": HINT * 3 + OK + b"Content-Length: 5\r\nRetry-After: 7\r\n\r\nhello",
    "folded": OK + b"X: a\r\n b\r\n\tc\r\nContent-Length: 5\r\n\r\nhello",
    "line feeds": OK.replace(b"\r", b"") + b"Content-Length: 5\n\nhello",
    "a fold in the body": OK + b"Content-Length: 6\r\nX: a\r\n b\r\n\r\na\r\n b\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
}


def read_in_pieces(data: bytes, cuts: list[int], *, is_head: bool = False) -> tuple[object, ...]:
    reader = AnswerReader()
    reader.begin(is_bodyless=is_head)
    while data:
        cut = cuts.pop() if cuts else len(data)
        reader.feed(data[:cut])
        data = data[cut:]
    assert reader.is_complete
    read = reader.read()
    return read.status, read.location, read.retry_after, bytes(read.body.data), reader.may_be_followed


@given(st.sampled_from(sorted(ANSWERS)), st.lists(st.integers(1, 20), max_size=60))
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(name: str, cuts: list[int]) -> None:
    assert read_in_pieces(ANSWERS[name], cuts) == read_in_pieces(ANSWERS[name], [])


@pytest.mark.parametrize("name", ["length", "chunks", "folded", "line feeds"])
def test_every_way_to_frame_a_body_gives_the_body(name: str) -> None:
    assert read_in_pieces(ANSWERS[name], []) == (200, "", [], b"hello", True)


def test_only_the_final_head_is_heeded() -> None:
    assert read_in_pieces(ANSWERS["hints"], [])[:3] == (200, "", ["7"])


def test_a_body_is_left_as_it_is_even_where_it_looks_folded() -> None:
    assert read_in_pieces(ANSWERS["a fold in the body"], [])[3] == b"a\r\n b\n"


@pytest.mark.parametrize("length", [b"", b"Content-Length: 5\r\n"])
def test_an_answer_to_head_has_no_body_and_the_next_answer_is_not_taken_for_it(length: bytes) -> None:
    reader = AnswerReader()
    for _ in range(3):
        reader.begin(is_bodyless=True)
        reader.feed(OK + length + b"\r\n")
        assert reader.is_complete
        assert reader.may_be_followed is bool(length), "without a length it may go on until the end"
    reader.begin(is_bodyless=False)
    reader.feed(ANSWERS["length"])
    assert bytes(reader.read().body.data) == b"hello"


def test_a_body_after_an_answer_to_head_is_not_taken_for_the_next_answer() -> None:
    reader = AnswerReader()
    reader.begin(is_bodyless=True)
    reader.feed(ANSWERS["length"])
    assert reader.is_complete
    assert not reader.may_be_followed


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    reader = AnswerReader()
    reader.feed(OK + b"\r\nhello")
    assert not reader.is_complete
    reader.end()
    assert reader.is_complete
    assert bytes(reader.read().body.data) == b"hello"
    assert not reader.may_be_followed


def test_a_body_with_a_length_does_not() -> None:
    reader = AnswerReader()
    reader.feed(OK + b"Content-Length: 50\r\n\r\nhello")
    reader.end()
    assert not reader.is_complete
    reader.cut()
    assert "broke off" in reader.read().body.notes[0]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 099 Odd\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxxx",
        OK + b"Transfer-Encoding: gzip\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        OK + b"X: a\0b\r\n\r\n",
    ],
)
def test_what_is_not_an_answer_is_said_so(data: bytes) -> None:
    with pytest.raises(Malformed, match="the answer is not HTTP"):
        AnswerReader().feed(data)


def test_framing_that_breaks_inside_the_body_comes_after_the_status() -> None:
    reader = AnswerReader()
    with pytest.raises(Malformed):
        reader.feed(OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n")
    assert reader.body is not None


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), max_size=20))
def test_whatever_comes_is_read_or_refused(tail: bytes, cuts: list[int]) -> None:
    """Nothing else is raised, whatever stands where; what is complete can be read."""
    for start in (b"", OK, OK + b"Transfer-Encoding: chunked\r\n\r\n", HINT):
        reader, data, left = AnswerReader(), start + tail, list(cuts)
        try:
            while data and not reader.is_spoilt:
                cut = left.pop() if left else len(data)
                reader.feed(data[:cut])
                data = data[cut:]
        except (AnswerTooLarge, Malformed):
            continue
        if reader.is_complete:
            assert reader.read().status >= 200


def test_an_answer_ends_at_its_limit_whatever_it_is_made_of() -> None:
    reader = AnswerReader()
    reader.feed(OK + b"Transfer-Encoding: chunked\r\n\r\n5;")

    def flood() -> None:
        for _ in range(1_000):
            reader.feed(b"e" * 16_384)

    with pytest.raises(AnswerTooLarge, match="on the wire"):
        flood()
    assert reader.bytes < 4 * 1024 * 1024


# What is known of a head without reading it again.

STATUSES = st.sampled_from(
    [b"200 OK", b"204 No Content", b"304 Not Modified", b"404 Not Found", b"503 Busy", b"101 Up"]
)
FIELDS = st.lists(
    st.sampled_from(
        [
            b"Content-Length: 0",
            b"Content-Length: 5",
            b"Content-Length: 2",
            b"Transfer-Encoding: chunked",
            b"Connection: close",
            b"Location: /x",
            b"Retry-After: 3",
            b"Content-Encoding: gzip",
            b"X: y",
        ]
    ),
    max_size=4,
)


@given(st.lists(st.tuples(STATUSES, FIELDS, st.sampled_from([b"", b"ok", b"hello", b"0\r\n\r\n"])), max_size=12))
def test_what_is_known_of_a_head_is_what_reading_it_says(answers: list[tuple[bytes, list[bytes], bytes]]) -> None:
    heads = Heads()
    for status, fields, body in answers * 2:
        data = b"\r\n".join([b"HTTP/1.1 " + status, *fields]) + b"\r\n\r\n" + body
        known, anew = heads.whole(data), AnswerReader()
        if known is None:
            learning = AnswerReader(heads)
            with suppress(Malformed):
                learning.feed(data)
            continue
        anew.feed(data)
        assert anew.is_complete
        assert anew.may_be_followed
        read = anew.read()
        assert (known.status, known.location, known.retry_after) == (read.status, read.location, read.retry_after)
        assert (bytes(known.body.data), known.body.notes) == (bytes(read.body.data), read.body.notes)
        assert known.is_bare == (not read.body.data)


def test_an_answer_of_which_a_byte_is_missing_or_one_too_many_has_come_is_read_as_always() -> None:
    reader = AnswerReader()
    reader.feed(ANSWERS["length"])
    reader.begin(is_bodyless=False)
    assert reader.is_fresh
    known = reader.heads.whole(ANSWERS["length"])
    assert known is not None
    assert bytes(known.body.data) == b"hello"
    assert reader.heads.whole(ANSWERS["length"][:-1]) is None
    assert reader.heads.whole(ANSWERS["length"] + b"!") is None
    assert reader.heads.whole(b"") is None


def test_an_answer_to_head_and_one_that_has_begun_are_not_taken_for_whole() -> None:
    reader = AnswerReader()
    reader.feed(OK + b"Content-Length: 0\r\n\r\n")
    reader.begin(is_bodyless=True)
    assert not reader.is_fresh
    reader = AnswerReader(heads := reader.heads)
    assert reader.is_fresh
    reader.feed(HINT)
    assert not reader.is_fresh
    assert len(heads._kept) == 1


def test_no_more_heads_are_kept_than_there_is_room_for() -> None:
    heads = Heads()
    for n in range(3 * HEADS_KEPT):
        reader = AnswerReader(heads)
        reader.feed(OK + b"Content-Length: 5\r\nX: %d\r\n\r\nhello" % n)
        assert len(heads._kept) <= HEADS_KEPT
    reader = AnswerReader(heads)
    reader.feed(OK + b"Content-Length: 5\r\nX: " + b"x" * 2_000 + b"\r\n\r\nhello")
    assert all(len(head) < 2_000 for head in heads._kept)
