"""The limits on what a target may answer, and what its answer means."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.dispatch.http.answer import (
    BODY_BYTES_MAX,
    PIECES_MAX,
    AnswerTooLarge,
    BodyReader,
    HeadWatch,
    NotHttp,
    judge,
    printable,
)
from chronos.dispatch.port import Answer, Delivered, Refused
from chronos.dispatch.redaction import Redactor
from chronos.model.target import HttpTarget, StoreResponse

FINAL = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"


@given(st.integers(0, 10), st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_a_head_is_watched_alike_however_it_is_cut(hints: int, cuts: list[int]) -> None:
    data = HINT * hints + FINAL
    watch = HeadWatch()
    while data:
        assert not watch.ended
        cut = cuts.pop() if cuts else len(data)
        watch.feed(data[:cut])
        data = data[cut:]
    assert watch.ended


def test_what_follows_the_final_head_is_the_body_and_nobody_s_business() -> None:
    watch = HeadWatch()
    watch.feed(FINAL + b"\n" * 100_000)
    watch.feed(b"x" * 100_000)


@pytest.mark.parametrize(
    "data",
    [
        HINT * 11,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101,
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 33_000,
        b"HTTP/1.1 103 Early\r\nA: " + b"b" * 33_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 33_000,
        HINT.replace(b"\r\n", b"\n") * 11,
    ],
)
@pytest.mark.parametrize("piece", [1_000, 1_000_000])
def test_too_much_before_the_body_is_noticed_as_soon_as_it_is_there(data: bytes, piece: int) -> None:
    watch = HeadWatch()

    def feed_all() -> None:
        for start in range(0, len(data), piece):
            watch.feed(data[start : start + piece])

    with pytest.raises(AnswerTooLarge):
        feed_all()


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-x", b"<html>", b"\r\n", b"HTTP/2 200\r\n", b"http/1.1 200\r\n", HINT + b"garbage"]
)
@pytest.mark.parametrize("piece", [1, 1_000])
def test_what_does_not_begin_like_an_answer_is_none(data: bytes, piece: int) -> None:
    watch = HeadWatch()

    def feed_all() -> None:
        for start in range(0, len(data), piece):
            watch.feed(data[start : start + piece])

    with pytest.raises(NotHttp, match="begins with"):
        feed_all()


def test_a_body_in_too_many_pieces_is_cut() -> None:
    reader = BodyReader("")
    fed = 0
    while not reader.full and fed < 100_000:
        reader.feed(b"x")
        fed += 1
    assert fed == PIECES_MAX
    assert "pieces" in reader.notes[0]


def test_an_upgrade_is_a_final_answer() -> None:
    watch = HeadWatch()
    watch.feed(b"HTTP/1.1 101 Switching\r\n\r\n")
    assert watch.ended


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@given(st.binary(max_size=2_000), st.lists(st.integers(1, 200), max_size=20))
def test_packed_bodies_come_out_as_they_went_in(data: bytes, cuts: list[int]) -> None:
    for encoding, packed in (("gzip", gzip.compress(data)), ("deflate", zlib.compress(data)), ("", data)):
        reader, rest = BodyReader(encoding), packed
        for cut in cuts:
            reader.feed(rest[:cut])
            rest = rest[cut:]
        reader.feed(rest)
        assert bytes(reader.data) == data
        assert not reader.notes


def test_deflate_without_its_wrapping_is_understood() -> None:
    reader = BodyReader("deflate")
    reader.feed(bare(b"hello" * 20))
    assert bytes(reader.data) == b"hello" * 20


@pytest.mark.parametrize("size", [BODY_BYTES_MAX - 1, BODY_BYTES_MAX])
def test_a_body_of_a_mebibyte_is_read_whole(size: int) -> None:
    reader = BodyReader("")
    reader.feed(b"x" * size)
    assert (len(reader.data), reader.full) == (size, False)


def test_a_byte_more_is_cut() -> None:
    reader = BodyReader("")
    reader.feed(b"x" * (BODY_BYTES_MAX + 1))
    assert (len(reader.data), reader.full) == (BODY_BYTES_MAX, True)


def test_the_limit_counts_what_comes_out_of_the_packing() -> None:
    reader = BodyReader("gzip")
    reader.feed(gzip.compress(bytes(range(256)) * 8_192, 1))
    assert len(reader.data) <= BODY_BYTES_MAX
    assert reader.full


def test_a_bomb_is_cut_at_a_hundred_times_its_size() -> None:
    packed = gzip.compress(bytes(900_000))
    reader = BodyReader("gzip")
    reader.feed(packed)
    assert len(reader.data) <= 64 * 1024 + 100 * len(packed)
    assert "100 times" in reader.notes[0]


def test_garbage_that_claims_to_be_packed_is_cut() -> None:
    reader = BodyReader("gzip")
    reader.feed(b"this is not gzip")
    assert reader.full
    assert reader.notes == ["body cut: it does not unpack"]


def test_an_unknown_packing_is_kept_packed_and_said() -> None:
    reader = BodyReader("br")
    reader.feed(b"abc")
    assert bytes(reader.data) == b"abc"
    assert "packed" in reader.notes[0]


@given(st.binary(max_size=3_000))
def test_an_excerpt_is_text_of_at_most_a_kibibyte_without_control_characters(data: bytes) -> None:
    text = printable(data)
    assert len(text.encode()) <= 1_024
    assert all(c.isprintable() or c in "\n\t\N{REPLACEMENT CHARACTER}" for c in text)


def test_what_is_stored_is_redacted_before_it_is_cut() -> None:
    reader = BodyReader("")
    reader.feed(b"." * 1_020 + b"topsecret" + b"." * 100_000)
    answer = reader.answer(200, StoreResponse.NODE, Redactor(["topsecret"]))
    assert answer.excerpt == "." * 1_020 + "***."
    assert len(answer.body) == 64 * 1024
    assert b"tops" not in answer.body


TARGET = HttpTarget(url="http://a.test/")


@given(st.integers(100, 599))
def test_every_status_is_success_retriable_or_final(status: int) -> None:
    outcome = judge(TARGET, Answer(status), ["5"], 0.0, resent=False)
    if 200 <= status <= 299:
        assert outcome == Delivered(Answer(status))
        return
    assert isinstance(outcome, Refused)
    assert outcome.permanent is (status < 500 and status not in (408, 425, 429))
    assert outcome.gone is (status == 410)
    assert outcome.retry_after_s == (None if outcome.permanent else 5)


def test_several_wishes_for_a_retry_are_ignored_with_a_note() -> None:
    outcome = judge(TARGET, Answer(503), ["5", "6"], 0.0, resent=False)
    assert isinstance(outcome, Refused)
    assert outcome.retry_after_s is None
    assert outcome.answer.notes


@pytest.mark.parametrize(("status", "permanent"), [(500, False), (599, False), (600, True), (999, True)])
def test_only_five_hundreds_are_a_server_s_bad_moment(status: int, permanent: bool) -> None:
    outcome = judge(HttpTarget(url="http://a.test/"), Answer(status), [], 0.0, resent=False)
    assert isinstance(outcome, Refused)
    assert outcome.permanent is permanent
