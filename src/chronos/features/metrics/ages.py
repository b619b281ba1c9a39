"""How long each job has not been well: looked up when the page is read, for a bounded number of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from chronos.features.metrics.model import BY_JOB, LAST_SUCCESS, OVERDUE
from chronos.scheduler.successes import Successes

LOOKED_AT = 4
"""Jobs looked at for each that is shown, so that a server full of paused ones costs no scrape its time."""

AT_ONCE = 50
"""So many are looked at before others have their turn: about a millisecond."""


class Age(NamedTuple):
    """One job's line in both families, in seconds."""

    job_id: str
    job_name: str
    age_s: float
    overdue_s: float


class JobAges(Collector):
    """Shows the jobs of the last look. `look` runs on the loop, in small steps; `collect` on any thread."""

    def __init__(self, prefix: str, jobs_max: int) -> None:
        self._prefix = prefix
        self._jobs_max = jobs_max
        self._ages: list[Age] = []

    async def look(self, successes: Successes, now_us: int) -> None:
        """Look up the first `jobs_max` jobs that are not paused, in the order of their ids."""
        jobs = islice(successes.jobs(), LOOKED_AT * self._jobs_max)
        owing = islice((job for job in jobs if job.paused is None), self._jobs_max)
        found = []
        for number, job in enumerate(owing):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            success = successes.of(job, now_us)
            since_s = success.overdue_since_s
            found.append(Age(job.id, job.name, success.age_s, now_us / 1e6 - since_s if since_s else 0.0))
        self._ages = found

    def collect(self) -> Iterator[GaugeMetricFamily]:
        ages = self._ages
        families = {
            metric.name: GaugeMetricFamily(self._prefix + metric.name, metric.help, labels=metric.labels)
            for metric in BY_JOB
        }
        for age in ages:
            families[LAST_SUCCESS.name].add_metric((age.job_id, age.job_name), age.age_s)
            families[OVERDUE.name].add_metric((age.job_id, age.job_name), age.overdue_s)
        yield from families.values()
