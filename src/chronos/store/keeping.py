"""How long a record of history is kept, as far as that is a matter of its job and namespace. Pure.

Whatever length somebody asks for, a record goes to the segments of the next longer class: old history is removed by
whole files, and there is one file being written for each class.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from chronos.store.commands import KeepingRule
from chronos.store.port import View
from chronos.store.tables import JOBS, KEEPING, REVISIONS, revision_key
from chronos.timing.duration import DAY_US, parse_duration

CLASSES_DAYS = (1, 7, 30, 90, 365)


@lru_cache(maxsize=1_000)
def class_of(retention: str) -> int:
    """Return the class, in days, of what is to be kept for this long; the longest there is for what is longer."""
    wanted_us = parse_duration(retention)
    return next((days for days in CLASSES_DAYS if wanted_us <= days * DAY_US), CLASSES_DAYS[-1])


def rules_of(view: View) -> Mapping[str, KeepingRule]:
    """Return what namespaces say of how long their records are kept."""
    rules = view.get(KEEPING, "namespaces")
    return rules.namespaces if rules is not None else {}


def days_kept(view: View, rules: Mapping[str, KeepingRule], job_id: str, namespace: str, revision: int = 0) -> int:
    """Return the class of a record: what its job says, else its namespace, else 0: what the server says for all.

    Args:
        rules: What `rules_of` the view says.
        revision: The job's revision that ran, asked when the job is deleted.
    """
    job = view.get(JOBS, job_id)
    if job is None and (kept := view.get(REVISIONS, revision_key(job_id, revision))) is not None:
        job = kept.job
    if job is not None and (history := job.spec.history) is not None and history.retention is not None:
        return class_of(history.retention)
    rule = rules.get(namespace) if rules else None
    return class_of(rule.retention) if rule is not None and rule.retention else 0
