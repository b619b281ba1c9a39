"""The engine's numbers, out of what it tells Prometheus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.cluster.etcd.probe import EngineMetrics, Fsyncs, explain, read_metrics
from chronos.cluster.etcd.space import Step, needed

TOLD = """\
# HELP etcd_disk_wal_fsync_duration_seconds The latency distributions of fsync called by WAL.
# TYPE etcd_disk_wal_fsync_duration_seconds histogram
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} 2
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.002"} 9
etcd_disk_wal_fsync_duration_seconds_bucket{le="8.192"} 10
etcd_disk_wal_fsync_duration_seconds_bucket{le="+Inf"} 10
etcd_disk_wal_fsync_duration_seconds_sum 0.0215
etcd_disk_wal_fsync_duration_seconds_count 10
etcd_mvcc_db_total_size_in_bytes 6.29145600e+08
etcd_mvcc_db_total_size_in_use_in_bytes 24576
etcd_server_has_leader 1
etcd_server_id{server_id="792610ace2bbc52e"} 1
etcd_server_is_leader 0
etcd_server_is_learner 1
etcd_server_leader_changes_seen_total 3
etcd_server_proposals_applied_total 90
etcd_server_proposals_committed_total 100
etcd_server_proposals_pending 2
etcd_server_quota_backend_bytes 4.294967296e+09
go_gc_duration_seconds{quantile="0"} 1e-05
"""


def test_the_numbers_that_matter_are_read() -> None:
    assert read_metrics(TOLD) == EngineMetrics(
        member_id="792610ace2bbc52e",
        has_leader=True,
        is_leader=False,
        is_learner=True,
        leader_changes=3,
        db_bytes=629_145_600,
        in_use_bytes=24_576,
        quota_bytes=4 << 30,
        behind=10,
        pending=2,
        fsync=Fsyncs(10, 0.0215, ((0.001, 2), (0.002, 9), (8.192, 10), (float("inf"), 10))),
    )


def test_how_long_writes_take_is_told_by_the_bound_they_kept_to() -> None:
    fsync = read_metrics(TOLD).fsync
    assert (fsync.quantile(0.5), fsync.quantile(0.9), fsync.quantile(0.99)) == (0.002, 0.002, 8.192)
    assert Fsyncs().quantile(0.99) == 0.0


def test_whether_it_needs_room_follows_from_them() -> None:
    assert needed(read_metrics(TOLD).space(is_full=False)) is Step.DEFRAGMENT
    assert needed(read_metrics(TOLD).space(is_full=True)) is Step.RECOVER


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"health":"false","reason":"RAFT NO LEADER"}', "has no majority of its members (RAFT NO LEADER)."),
        (b'{"health":"false","reason":"QGET ERROR:etcdserver: request timed out"}', "no majority of its members (QGET"),
        (b'{"health":"false","reason":"ALARM CORRUPT"}', "etcdctl member remove"),
        (b'{"health":"true","reason":""}', "too slow"),
        (b'{"health":"false"}', "has no majority of its members."),
        (b"", "has no majority of its members."),
        (b"[]", "has no majority of its members."),
    ],
)
def test_an_engine_that_is_not_ready_says_why(body: bytes, words: str) -> None:
    assert words in explain(body)


@given(st.text())
def test_what_is_no_metrics_has_no_numbers(text: str) -> None:
    assert read_metrics(text) == EngineMetrics()
