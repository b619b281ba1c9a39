"""When a job that depends on others is due."""

from __future__ import annotations

import pytest

from chronos.features.dependencies.model import Result, Round
from chronos.features.dependencies.rules import Verdict, next_round
from chronos.model.job import DependencyCondition

PARENTS = ["a", "b"]
MINUTE_US = 60_000_000


def run(
    steps: list[tuple[str, bool]],
    condition: DependencyCondition,
    *,
    timeout_us: int | None = None,
    spacing_us: int = MINUTE_US,
) -> list[Verdict]:
    """Feed runs of parents, a spacing apart, and return the verdicts."""
    round_, verdicts = Round(), []
    for place, (parent, success) in enumerate(steps):
        result = Result(execution_id=f"{parent}{place}", success=success, at_us=place * spacing_us)
        verdict = next_round(round_, PARENTS, parent, result, condition, timeout_us)
        round_ = verdict.round
        verdicts.append(verdict)
    return verdicts


@pytest.mark.parametrize(
    ("condition", "due"),
    [
        (DependencyCondition.ALL_SUCCESS, [[], [], ["a2", "b1"]]),
        (DependencyCondition.ALL_COMPLETE, [[], ["a0", "b1"], []]),
        (DependencyCondition.ANY_SUCCESS, [[], ["a0", "b1"], ["a2"]]),
        (DependencyCondition.ANY_COMPLETE, [["a0"], ["b1"], ["a2"]]),
    ],
)
def test_each_condition_is_met_by_the_runs_it_names(condition: DependencyCondition, due: list[list[str]]) -> None:
    steps = [("a", False), ("b", True), ("a", True)]

    assert [verdict.due for verdict in run(steps, condition)] == due


def test_a_newer_run_of_a_parent_takes_the_place_of_its_older_one() -> None:
    verdicts = run([("a", True), ("a", True), ("b", True)], DependencyCondition.ALL_SUCCESS)

    assert verdicts[-1].due == ["a1", "b2"]


def test_a_round_begins_anew_when_the_job_was_due() -> None:
    verdicts = run([("a", True), ("b", True), ("b", True)], DependencyCondition.ALL_SUCCESS)

    assert verdicts[1].round == Round()
    assert verdicts[2].due == []


def test_a_result_older_than_the_timeout_does_not_count() -> None:
    steps = [("a", True), ("b", True)]

    assert run(steps, DependencyCondition.ALL_SUCCESS, timeout_us=MINUTE_US - 1)[-1].due == []
    assert run(steps, DependencyCondition.ALL_SUCCESS, timeout_us=MINUTE_US)[-1].due == ["a0", "b1"]


def test_a_job_no_longer_depended_on_is_forgotten() -> None:
    old = Round(results={"gone": Result(execution_id="x", success=False, at_us=0)})
    result = Result(execution_id="a1", success=True, at_us=1)

    verdict = next_round(old, ["a"], "a", result, DependencyCondition.ALL_SUCCESS, None)

    assert verdict.due == ["a1"]
