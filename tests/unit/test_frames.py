"""A stream is cut into the frames it was made of, however it arrives."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from chronos.frames import FrameReader, ProtocolBroken, decoded, framed


class Said(Struct, frozen=True, array_like=True):
    body: bytes


DECODER = msgspec.msgpack.Decoder(Said)


@given(bodies=st.lists(st.binary(max_size=200), max_size=8), cuts=st.lists(st.integers(0, 2_000), max_size=12))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(framed(Said(body), 1_000) for body in bodies)
    reader, found, at = FrameReader(1_000), [], 0
    for cut in sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)}):
        found += [decoded(DECODER, frame).body for frame in reader.feed(stream[at:cut])] if cut > at else []
        at = cut
    assert found == bodies


@pytest.mark.parametrize("head", [bytes(4), (101).to_bytes(4, "little"), b"\xff\xff\xff\xff"])
def test_a_length_that_no_frame_has_ends_the_conversation(head: bytes) -> None:
    with pytest.raises(ProtocolBroken):
        FrameReader(100).feed(head)


def test_what_the_other_side_would_not_take_is_not_sent() -> None:
    assert framed(Said(bytes(90)), 100)
    with pytest.raises(ProtocolBroken):
        framed(Said(bytes(100)), 100)


@given(junk=st.binary(min_size=1, max_size=60))
def test_junk_is_a_message_or_an_end_and_never_another_error(junk: bytes) -> None:
    try:
        decoded(DECODER, junk)
    except ProtocolBroken:
        pass
