"""When a dependent job is due. Pure."""

from __future__ import annotations

from msgspec import Struct

from chronos.features.dependencies.model import Result, Round
from chronos.model.job import DependencyCondition


class Verdict(Struct, frozen=True):
    """What follows a finished run.

    Attributes:
        due: The executions that make the dependent job due, sorted; empty when it is not.
        round: What to remember.
    """

    due: list[str]
    round: Round


def next_round(
    round_: Round,
    parents: list[str],
    parent: str,
    result: Result,
    condition: DependencyCondition,
    timeout_us: int | None,
) -> Verdict:
    """Return whether the run `result` of `parent` makes the job due, and what is remembered after it.

    A newer run of a parent takes the place of its older one. With a timeout, results older than it (counted
    from the newest) are forgotten. When the job is due, the round begins anew.
    """
    results = {key: old for key, old in round_.results.items() if key in parents}
    if timeout_us is not None:
        results = {key: old for key, old in results.items() if result.at_us - old.at_us <= timeout_us}
    results[parent] = result
    if not _is_met(results, parents, result, condition):
        return Verdict([], Round(results=results))
    return Verdict(sorted(r.execution_id for r in results.values()), Round())


def _is_met(results: dict[str, Result], parents: list[str], newest: Result, condition: DependencyCondition) -> bool:
    if condition is DependencyCondition.ANY_COMPLETE:
        return True
    if condition is DependencyCondition.ANY_SUCCESS:
        return newest.success
    complete = all(parent in results for parent in parents)
    if condition is DependencyCondition.ALL_COMPLETE:
        return complete
    return complete and all(r.success for r in results.values())
