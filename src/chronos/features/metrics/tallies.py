"""Numbers that come in thousands of times a second: a sample is an addition and no more.

The client library takes a lock and looks up labels for every sample, which costs more than deciding the execution
did; so its families are made here from plain numbers when the page is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from chronos.features.metrics.model import ATTEMPTS, DURATION, EXECUTIONS, OTHER, Metric
from chronos.features.metrics.rules import JobLabels, Labels
from chronos.model.execution import Execution
from chronos.telemetry import count_into


class Tally:
    """One histogram: how many samples fell into each bucket, the last for what is above all bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, metric: Metric) -> None:
        self.bounds = metric.buckets
        self.counts = [0] * (len(metric.buckets) + 1)
        self.sum = 0.0

    def add_all(self, values: Sequence[float]) -> None:
        """Count samples."""
        count_into(self.counts, self.bounds, values)
        self.sum += sum(values)


class Histogram(Collector):
    """One metric's tallies, by the values of its labels. Counts on the loop; `collect` may be called on any thread."""

    def __init__(self, prefix: str, metric: Metric) -> None:
        self._name = prefix + metric.name
        self._metric = metric
        self._tallies: dict[Labels, Tally] = {}
        if not metric.labels:
            self.labels()

    def labels(self, *values: str) -> Tally:
        """Return where to count what has these labels."""
        tally = self._tallies.get(values)
        if tally is None:
            tally = self._tallies[values] = Tally(self._metric)
        return tally

    def collect(self) -> Iterator[Family]:
        family = HistogramMetricFamily(self._name, self._metric.help, labels=self._metric.labels)
        for values, tally in self._tallies.copy().items():
            family.add_metric(values, _cumulative(tally), tally.sum)
        yield family


class ExecutionTallies(Collector):
    """Counts on the loop; `collect` may be called on any thread.

    Args:
        jobs_max: How many jobs get series of their own.
    """

    def __init__(self, prefix: str, jobs_max: int) -> None:
        self._prefix = prefix
        self._jobs = JobLabels(jobs_max)
        self._ended: dict[Labels, int] = {}
        self._durations: dict[Labels, Tally] = {}
        self._attempts = Tally(ATTEMPTS)

    def count(self, ended: Sequence[Execution]) -> None:
        """Take in executions that have come to their end."""
        is_other = self._jobs.is_other
        others: list[Execution] = []
        for execution in ended:
            if is_other(execution.job_id):
                others.append(execution)
            else:
                self._count(self._labels_of(execution), [execution])
        if others:
            self._count((OTHER, OTHER), others)

    def _labels_of(self, execution: Execution) -> tuple[str, str]:
        """Return the labels of a job that has its own; under a new name it begins anew."""
        job = self._jobs.of(execution.job_id, execution.job_name)
        if job[1] is not execution.job_name and self._jobs.renamed(execution.job_id, execution.job_name):
            self.forget(execution.job_id)
            job = self._jobs.of(execution.job_id, execution.job_name)
        return job

    def _count(self, job: tuple[str, str], ended: Sequence[Execution]) -> None:
        """Count what has these labels."""
        for execution in ended:
            place = (*job, execution.status)
            self._ended[place] = self._ended.get(place, 0) + 1
        started = [execution for execution in ended if execution.started_at_us]
        if not started:
            return
        tally = self._durations.get(job)
        if tally is None:
            tally = self._durations[job] = Tally(DURATION)
        tally.add_all([max(0, execution.ended_at_us - execution.started_at_us) / 1e6 for execution in started])
        self._attempts.add_all([len(execution.attempts) for execution in started])

    def forget(self, job_id: str) -> None:
        """Give a job's series back."""
        if self._jobs.forget(job_id):
            self._ended = {place: count for place, count in self._ended.items() if place[0] != job_id}
            self._durations = {job: tally for job, tally in self._durations.items() if job[0] != job_id}

    def collect(self) -> Iterator[Family]:
        # Copied first, in one step each: the loop goes on counting.
        ended, durations = self._ended.copy(), self._durations.copy()
        counter = CounterMetricFamily(self._prefix + EXECUTIONS.name, EXECUTIONS.help, labels=EXECUTIONS.labels)
        for place, count in ended.items():
            counter.add_metric(place, count)
        yield counter
        histogram = HistogramMetricFamily(self._prefix + DURATION.name, DURATION.help, labels=DURATION.labels)
        for job, tally in durations.items():
            histogram.add_metric(job, _cumulative(tally), tally.sum)
        yield histogram
        attempts = HistogramMetricFamily(self._prefix + ATTEMPTS.name, ATTEMPTS.help)
        attempts.add_metric((), _cumulative(self._attempts), self._attempts.sum)
        yield attempts


def _cumulative(tally: Tally) -> list[tuple[str, float]]:
    bounds = [*(repr(float(bound)) for bound in tally.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(tally.counts)), strict=True))
