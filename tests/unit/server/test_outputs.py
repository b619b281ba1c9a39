"""What programs print is kept in order, within bounds, and can be read while it grows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.server.outputs import PENDING_BYTES_MAX, PIECE_BYTES_MAX, Outputs
from chronos.server.rest.streams import whole_characters

pytestmark = pytest.mark.asyncio


async def test_pieces_are_read_back_in_order_from_any_place(tmp_path: Path) -> None:
    async with Outputs(tmp_path / "outputs") as outputs:
        outputs.take("occ_1", 1, b"one ")
        outputs.take("occ_1", 2, b"other")
        assert await outputs.read("occ_1", 1) == b"one "
        outputs.take("occ_1", 1, b"two")
        assert await outputs.read("occ_1", 1) == b"one two"
        assert await outputs.read("occ_1", 1, 4) == b"two"
        assert await outputs.read("occ_1", 1, 7) == b""
        assert await outputs.read("occ_1", 2) == b"other"


async def test_what_was_printed_survives_a_restart_and_is_private(tmp_path: Path) -> None:
    async with Outputs(tmp_path / "outputs") as outputs:
        outputs.take("occ_1", 1, b"kept")
    async with Outputs(tmp_path / "outputs") as outputs:
        assert await outputs.read("occ_1", 1) == b"kept"
    [file] = (tmp_path / "outputs").glob("*/*")
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "occ_nobody", "OCC", "a/b"])
async def test_no_name_leads_out_of_the_folder_or_to_an_error(tmp_path: Path, name: str) -> None:
    async with Outputs(tmp_path / "outputs") as outputs:
        assert await outputs.read(name, 1) == b""


async def test_one_reading_is_bounded_and_the_next_goes_on(tmp_path: Path) -> None:
    async with Outputs(tmp_path / "outputs") as outputs:
        outputs.take("occ_1", 1, b"x" * PIECE_BYTES_MAX + b"y")
        first = await outputs.read("occ_1", 1)
        assert len(first) == PIECE_BYTES_MAX
        assert await outputs.read("occ_1", 1, len(first)) == b"y"


async def test_what_runs_ahead_of_the_disk_is_dropped(tmp_path: Path) -> None:
    async with Outputs(tmp_path / "outputs") as outputs:
        piece = b"x" * (PENDING_BYTES_MAX // 4)
        for _ in range(5):
            outputs.take("occ_1", 1, piece)
        await outputs.flush()
        assert sum(path.stat().st_size for path in (tmp_path / "outputs").glob("*/*")) == PENDING_BYTES_MAX


async def test_the_oldest_go_when_there_is_too_much(tmp_path: Path) -> None:
    async with Outputs(tmp_path / "outputs", bytes_max=10_000) as outputs:
        for number in range(20):
            outputs.take(f"occ_{number:03}", 1, b"x" * 1_000)
            await outputs.flush()
        kept = sorted(path.name for path in (tmp_path / "outputs").glob("*/*"))
    assert 5 <= len(kept) <= 10
    assert kept == [f"occ_{number:03}.1" for number in range(20 - len(kept), 20)]


async def test_a_folder_that_cannot_be_written_costs_the_output_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("in the way")
    async with Outputs(tmp_path / "outputs") as outputs:
        outputs.take("occ_1", 1, b"lost")
        assert await outputs.read("occ_1", 1) == b""


@given(st.text(max_size=20), st.integers(0, 80))
async def test_a_piece_is_cut_between_characters_only(text: str, cut: int) -> None:
    data = text.encode()
    piece = data[:cut]
    whole = whole_characters(piece)
    assert whole.decode() == text[: len(whole.decode())]
    assert len(piece) - len(whole) < 4
    assert whole == data if cut >= len(data) else True


async def test_bytes_that_are_no_text_are_not_held_back() -> None:
    assert whole_characters(b"\x80\x80\x80\x80") == b"\x80\x80\x80\x80"
    assert whole_characters(b"ok\xff\xfe") == b"ok\xff\xfe"
