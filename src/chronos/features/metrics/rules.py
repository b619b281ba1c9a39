"""Bounds on labels: a metric must not grow with what users do."""

from __future__ import annotations

from chronos.features.metrics.model import OTHER

Labels = tuple[str, ...]


class JobLabels:
    """Gives the first `jobs_max` jobs labels of their own, and all others one label in common."""

    def __init__(self, jobs_max: int) -> None:
        self._jobs_max = jobs_max
        self._names: dict[str, str] = {}

    def of(self, job_id: str, job_name: str) -> tuple[str, str]:
        """Return the (job_id, job_name) to label with."""
        if job_id in self._names:
            return job_id, self._names[job_id]
        if len(self._names) >= self._jobs_max:
            return OTHER, OTHER
        self._names[job_id] = job_name
        return job_id, job_name

    def is_other(self, job_id: str) -> bool:
        """Whether there is no room for labels of the job's own."""
        return job_id not in self._names and len(self._names) >= self._jobs_max

    def forget(self, job_id: str) -> bool:
        """Make room for another job; return whether this one had labels of its own."""
        return self._names.pop(job_id, None) is not None

    def renamed(self, job_id: str, job_name: str) -> bool:
        """Whether the job is labelled with a name it no longer has."""
        return self._names.get(job_id, job_name) != job_name


class SeriesBound:
    """Lets the first `series_max` label combinations of each metric through; later ones become `other`."""

    def __init__(self, series_max: int) -> None:
        self._series_max = series_max
        self._seen: dict[str, set[Labels]] = {}

    def of(self, name: str, labels: Labels) -> Labels:
        """Return the labels to use for metric `name`."""
        if not labels:
            return labels
        seen = self._seen.setdefault(name, set())
        if labels in seen:
            return labels
        if len(seen) >= self._series_max:
            return (OTHER,) * len(labels)
        seen.add(labels)
        return labels
