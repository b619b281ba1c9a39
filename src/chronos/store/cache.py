"""Values of the state kept in memory, bounded by what they weigh."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from chronos.model.job import Job
from chronos.store.tables import Document, KeptDocument, Revision

Key = tuple[str, str]

NOTHING: Final = object()
"""Says that a value is not here; None is a value: there is nothing under that key."""

KEY_BYTES = 250
"""What an entry costs beside its value: the key, and its place."""

VALUE_BYTES = 750
"""What any other value costs."""

JOB_BYTES = 2_200
"""What a job costs without its long texts."""


class Cache:
    """Holds the values last put or asked for; may forget any of them.

    There are two generations: what is asked for comes to the newer, and when that has half the weight, the older goes.
    A newer value hides an older one.

    Attributes:
        newer: Where most of what is asked for is, by table and key; for reading, by who asks a hundred thousand times
            a second. A key alone is found in half the time that a pair takes.
    """

    def __init__(self, bytes_max: int) -> None:
        self._half = max(1, bytes_max // 2)
        self.newer = _nothing_yet()
        self._older = _nothing_yet()
        self._weight = 0

    def get(self, place: Key) -> Any:
        """Return the value, or NOTHING when it is not here."""
        table, key = place
        value = self.newer[table].get(key, NOTHING)
        if value is NOTHING:
            value = self._older[table].get(key, NOTHING)
            if value is not NOTHING:
                self.put(place, value)
        return value

    def put(self, place: Key, value: Any) -> None:
        """Hold a value; it is the one from now on."""
        table, key = place
        # What may be big counts again each time it changes: too much is better than too little.
        if key not in self.newer[table] or type(value) in _MAY_BE_BIG:
            self._weight += weight(value)
            if self._weight > self._half:
                self._older, self.newer = self.newer, _nothing_yet()
                self._weight = weight(value)
        self.newer[table][key] = value

    def renew(self, place: Key, value: Any) -> None:
        """Do what `put` does, and for what weighs what it has weighed before, quickly."""
        held, key = self.newer[place[0]], place[1]
        if key in held and type(value) not in _MAY_BE_BIG:
            held[key] = value
        else:
            self.put(place, value)


def _nothing_yet() -> defaultdict[str, dict[str, Any]]:
    return defaultdict(dict)


def weight(value: Any) -> int:
    """Return how many bytes of memory an entry takes, about: rather more than less."""
    if value is None:
        return KEY_BYTES
    if isinstance(value, Job):
        return KEY_BYTES + _job_weight(value)
    if isinstance(value, Revision):
        return KEY_BYTES + _job_weight(value.job)
    if isinstance(value, Document | KeptDocument):
        return KEY_BYTES + VALUE_BYTES + len(value.value or b"")
    return KEY_BYTES + VALUE_BYTES


def _job_weight(job: Job) -> int:
    spec, target = job.spec, job.target
    body = getattr(target, "body", "")
    found = JOB_BYTES + len(spec.description) + (len(body) if isinstance(body, str) else 0)
    pairs: Mapping[str, object]
    for pairs in (spec.tags, getattr(target, "headers", None) or {}, getattr(target, "env", None) or {}):
        for value in pairs.values():
            found += 200 + len(str(value))
    return found


_MAY_BE_BIG = (Job, Revision, Document, KeptDocument)
