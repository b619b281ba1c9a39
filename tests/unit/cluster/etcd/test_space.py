"""When the engine needs room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chronos.cluster.etcd.space import Space, Step, in_order, needed

MB = 1 << 20
GB = 1 << 30
sizes = st.integers(min_value=0, max_value=8 * GB)


def test_an_engine_with_room_is_left_alone() -> None:
    assert needed(Space(db_bytes=300 * MB, in_use_bytes=200 * MB, quota_bytes=4 * GB)) is Step.NOTHING


def test_at_a_quarter_of_the_quota_the_log_is_cut() -> None:
    assert needed(Space(GB, GB - 1, 4 * GB)) is Step.NOTHING
    assert needed(Space(GB, GB, 4 * GB)) is Step.TRUNCATE


def test_what_lies_free_in_a_big_file_is_given_back() -> None:
    assert needed(Space(600 * MB, 88 * MB, 4 * GB)) is Step.NOTHING
    assert needed(Space(600 * MB + 1, 88 * MB, 4 * GB)) is Step.DEFRAGMENT


def test_a_small_quota_is_not_filled_by_what_lies_free() -> None:
    assert needed(Space(33 * MB, 0, 64 * MB)) is Step.DEFRAGMENT


def test_an_engine_that_refuses_writes_gets_everything() -> None:
    assert needed(Space(10 * MB, MB, 4 * GB, is_full=True)) is Step.RECOVER


@given(sizes, sizes, st.integers(min_value=MB, max_value=8 * GB))
def test_before_the_quota_is_reached_something_is_done(db: int, in_use: int, quota: int) -> None:
    space = Space(max(db, in_use), in_use, quota)
    if space.db_bytes >= quota:
        assert needed(space) is not Step.NOTHING


def test_the_one_that_leads_stands_still_last() -> None:
    assert in_order(["n3", "n1", "n2"], leader="n1") == ["n2", "n3", "n1"]
    assert in_order([], leader="") == []
