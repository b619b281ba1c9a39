from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chronos.features.metrics.model import OTHER
from chronos.features.metrics.rules import JobLabels, SeriesBound


def test_the_first_jobs_have_labels_of_their_own_and_the_rest_share_one() -> None:
    jobs = JobLabels(2)
    assert jobs.of("a", "nightly") == ("a", "nightly")
    assert jobs.of("b", "hourly") == ("b", "hourly")
    assert jobs.of("c", "weekly") == (OTHER, OTHER)
    assert jobs.of("a", "nightly") == ("a", "nightly")


def test_a_deleted_job_makes_room_for_another() -> None:
    jobs = JobLabels(1)
    jobs.of("a", "nightly")
    assert jobs.forget("a")
    assert not jobs.forget("a")
    assert jobs.of("b", "hourly") == ("b", "hourly")


def test_a_rename_is_noticed_once_the_job_is_labelled() -> None:
    jobs = JobLabels(1)
    assert not jobs.renamed("a", "nightly")
    jobs.of("a", "nightly")
    assert not jobs.renamed("a", "nightly")
    assert jobs.renamed("a", "at-night")


@given(st.lists(st.tuples(st.text(max_size=2), st.text(max_size=2)), max_size=60), st.integers(0, 10))
def test_however_many_labels_are_used_no_more_than_the_bound_and_other_come_out(
    labels: list[tuple[str, ...]], bound: int
) -> None:
    series = SeriesBound(bound)
    out = [series.of("m", each) for each in labels]
    assert len(set(out) - {(OTHER, OTHER)}) <= bound
    assert out[:bound] == labels[:bound]


def test_one_metric_does_not_use_up_the_room_of_another() -> None:
    series = SeriesBound(1)
    assert series.of("a", ("x",)) == ("x",)
    assert series.of("b", ("y",)) == ("y",)
    assert series.of("a", ("y",)) == (OTHER,)
    assert series.of("c", ()) == ()
