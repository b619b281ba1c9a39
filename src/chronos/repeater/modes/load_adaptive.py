"""`load-adaptive`: the busier the host, the longer the wait."""

from __future__ import annotations

from chronos.repeater.modes.bounds import need_number, need_range, need_wait, shown_s
from chronos.repeater.port import Load, LoadSource, Moment, Run

SAMPLE_EVERY_S = 5.0
RANGE = 10.0


def factor(load: Load, *, cpu_percent: float, memory_percent: float, load1: float) -> float:
    """Return the largest of CPU, memory and load, each as a share of its target."""
    cpu = 0.0 if load.cpu_percent is None else load.cpu_percent
    return max(cpu / cpu_percent, load.memory_percent / memory_percent, load.load1 / load1)


class LoadAdaptive:
    """Run 1 at once; each next one after base * factor, within bounds, from the end of the one before.

    The load is read at the start and then at most every five seconds.
    """

    def __init__(
        self,
        base_s: float,
        source: LoadSource,
        *,
        target_cpu: float = 70.0,
        target_memory: float = 80.0,
        target_load: float = 1.0,
        min_s: float | None = None,
        max_s: float | None = None,
        immediate: bool = True,
    ) -> None:
        """Take the wait at exactly the targets, and where the load is read.

        Args:
            target_cpu, target_memory: Percent of the host's, greater than 0 and at most 100.
            target_load: The load average of a minute, not per core.
            min_s, max_s: A tenth and ten times `base_s` unless said otherwise.
            immediate: Whether run 1 is at once; otherwise it is one base interval later.

        Raises:
            ModeInvalid: A value is outside its bounds.
        """
        self._base_s = need_wait("base-interval", base_s)
        self._cpu = need_number("target-cpu", target_cpu, above=0, most=100)
        self._memory = need_number("target-memory", target_memory, above=0, most=100)
        self._load1 = need_number("target-load", target_load, above=0)
        self._min_s = base_s / RANGE if min_s is None else min_s
        self._max_s = base_s * RANGE if max_s is None else max_s
        need_range(self._min_s, self._max_s)
        self._source = source
        self._immediate = immediate
        self._sampled_s = 0.0
        self.load: Load | None = None
        self.interval_s = base_s

    def first_s(self, now: Moment) -> float:
        self._sample(now)
        return now.monotonic_s if self._immediate else now.monotonic_s + self._base_s

    def next_s(self, last: Run, now: Moment) -> float | None:
        if now.monotonic_s - self._sampled_s >= SAMPLE_EVERY_S:
            self._sample(now)
        return max(now.monotonic_s, last.ended_s + self.interval_s)

    def describe(self) -> str:
        return (
            f"{shown_s(self._base_s)} at {self._cpu:g}% CPU, {self._memory:g}% memory or load {self._load1:g}, "
            f"between {shown_s(self._min_s)} and {shown_s(self._max_s)}"
        )

    def _sample(self, now: Moment) -> None:
        self._sampled_s = now.monotonic_s
        self.load = self._source.read()
        by = factor(self.load, cpu_percent=self._cpu, memory_percent=self._memory, load1=self._load1)
        self.interval_s = min(self._max_s, max(self._min_s, self._base_s * by))
