"""From bytes to answers: the same whatever pieces they come in, and never more than is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.dispatch.http.answer import AnswerTooLarge
from chronos.dispatch.http.exchange import Malformed
from chronos.dispatch.http.reader import AnswerReader

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
