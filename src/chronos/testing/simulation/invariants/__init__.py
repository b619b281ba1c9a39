"""The promises, each a pure function from evidence to what was broken: a bad trace can be written by hand."""

from __future__ import annotations

from collections.abc import Callable

from chronos.testing.simulation.course import Course, course_of
from chronos.testing.simulation.evidence import Evidence, Violation
from chronos.testing.simulation.invariants import clients, deciding, keeping, resting, sending, together
from chronos.testing.simulation.windows import check_windows

Check = Callable[[Evidence, Course], list[Violation]]

CHECKS: tuple[Check, ...] = (
    deciding.no_instant_is_lost_or_recorded_twice,
    deciding.marks_and_times_never_run_back,
    deciding.what_was_decided_is_accounted_for,
    deciding.nothing_is_decided_by_a_clock_that_is_not_believed,
    keeping.one_life_writes_at_a_time,
    keeping.state_equals_the_log_and_files_are_whole,
    keeping.credentials_stay_sealed,
    keeping.the_product_finds_no_fault_with_itself,
    sending.every_arrival_was_granted_before,
    sending.leases_of_a_job_do_not_overlap,
    sending.what_has_ended_does_not_change,
    sending.attempts_are_numbered_without_gaps,
    sending.duplicates_have_a_cause,
    sending.retries_wait_as_long_as_they_should,
    clients.accepted_writes_can_be_read,
    clients.nothing_leaves_after_a_pause_or_deletion,
    clients.results_that_were_taken_count,
    resting.queues_are_bounded,
    resting.stops_lose_nothing,
    resting.everything_comes_to_rest,
    check_windows,
)

CLUSTER_CHECKS: tuple[Check, ...] = (
    *(check for check in CHECKS if check not in (keeping.one_life_writes_at_a_time, sending.duplicates_have_a_cause)),
    together.nobody_sends_without_a_right,
    together.tokens_are_of_the_term_that_granted_them,
    together.the_lead_changes_for_a_reason,
    together.duplicates_have_an_accident,
    together.processes_end_for_a_reason,
)
"""What is asked of several nodes: all that is asked of one, but for what only one can promise."""

LEFT_CHECKS = tuple(check for check in CHECKS if check is not resting.everything_comes_to_rest)
"""What can be asked of a run that a restore has ended: nobody has given it time to come to rest."""


def judge(evidence: Evidence, course: Course | None = None) -> list[Violation]:
    """Return every promise that was broken, in the order of the checks.

    Args:
        course: The evidence's own, where it is known already.
    """
    course = course_of(evidence) if course is None else course
    found = [violation for check in CHECKS for violation in check(evidence, course)]
    for left in evidence.left:
        course = course_of(left)
        found += [violation for check in LEFT_CHECKS for violation in check(left, course)]
    found += sending.tokens_never_go_back(evidence)
    return list(dict.fromkeys(found))  # what was before a restore is judged twice


def judge_cluster(evidence: Evidence, course: Course | None = None) -> list[Violation]:
    """Return every promise that several nodes have broken, in the order of the checks."""
    course = course_of(evidence) if course is None else course
    found = (violation for check in CLUSTER_CHECKS for violation in check(evidence, course))
    return list(dict.fromkeys(violation for violation in found if not together.is_excused(evidence, violation)))
