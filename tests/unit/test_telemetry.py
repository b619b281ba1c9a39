"""Emissions reach every sink; gauges that lie ready are asked for when somebody reads."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.kept import Kept

from chronos.telemetry import SORTED_FROM, Telemetry, count_into

BOUNDS = (0.001, 0.01, 0.1, 1.0)


def test_every_sink_hears_every_emission() -> None:
    telemetry, first, second = Telemetry(), Kept(), Kept()
    telemetry.add_sink(first)
    telemetry.add_sink(second)
    telemetry.count("fires_total", 2, kind="x")
    telemetry.observe("wait_seconds", 0.5)
    assert first.seen == second.seen == [("fires_total", 2, {"kind": "x"}), ("wait_seconds", 0.5, {})]


def test_a_source_is_asked_when_somebody_reads_and_not_before() -> None:
    telemetry, sink, depth = Telemetry(), Kept(), [3]
    telemetry.add_sink(sink)
    telemetry.gauge_from("depth", lambda: depth[0], queue="log")
    assert sink.seen == []
    telemetry.sample()
    depth[0] = 5
    telemetry.sample()
    assert sink.seen == [("depth", 3, {"queue": "log"}), ("depth", 5, {"queue": "log"})]


def test_a_second_source_for_the_same_labels_takes_the_place_of_the_first() -> None:
    telemetry, sink = Telemetry(), Kept()
    telemetry.add_sink(sink)
    telemetry.gauge_from("depth", lambda: 1, queue="log")
    telemetry.gauge_from("depth", lambda: 2, queue="log")
    telemetry.gauge_from("depth", lambda: 7, queue="executor")
    telemetry.sample()
    assert [(value, labels["queue"]) for _, value, labels in sink.seen] == [(2, "log"), (7, "executor")]


@given(st.lists(st.one_of(st.sampled_from(BOUNDS), st.floats(-1.0, 10.0)), max_size=3 * SORTED_FROM))
def test_many_values_are_counted_into_the_buckets_that_each_of_them_belongs_to(values: list[float]) -> None:
    expected = [1] * (len(BOUNDS) + 1)
    for value in values:
        expected[bisect_left(BOUNDS, value)] += 1
    counts = [1] * (len(BOUNDS) + 1)
    count_into(counts, BOUNDS, values)
    assert counts == expected
