"""Collects emissions and events into a Prometheus registry of its own."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Sequence

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

import chronos
from chronos.features.metrics.ages import JobAges
from chronos.features.metrics.model import (
    BY_TELEMETRY,
    DYNAMIC_NAMES_MAX,
    SERIES_MAX,
    TABLE,
    WEB,
    Metric,
    MetricKind,
)
from chronos.features.metrics.rules import Labels, SeriesBound
from chronos.features.metrics.tallies import ExecutionTallies, Histogram, Tally
from chronos.model.events import Event, EventType
from chronos.model.execution import Execution

PREFIX = "chronos_"

_log = structlog.get_logger(__name__)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_LABEL = re.compile(r"(?!__)[a-z_][a-z0-9_]{0,49}")


class Exporter:
    """A `telemetry.Sink` and a subscriber to events; `page` is what Prometheus reads.

    Emissions never raise: one that does not fit its metric is dropped, with one warning for each name.

    Args:
        jobs_max: How many jobs get series of their own.
    """

    def __init__(self, jobs_max: int = 1_000) -> None:
        # Without this every counter and histogram brings a `_created` gauge that nobody asked for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._metrics: dict[str, Counter | Gauge | Histogram] = {}
        self._kinds: dict[str, tuple[MetricKind, tuple[str, ...]]] = {}
        self._children: dict[tuple[str, Labels], Counter | Gauge | Tally] = {}
        self._plain: dict[str, Tally] = {}
        self._warned: set[str] = set()
        self._dynamic = 0
        self._series = SeriesBound(SERIES_MAX)
        self.ages = JobAges(PREFIX, jobs_max)
        self.executions = ExecutionTallies(PREFIX, jobs_max)
        self._registry.register(self.ages)
        self._registry.register(self.executions)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        for metric in BY_TELEMETRY:
            if metric.kind is not MetricKind.GAUGE:
                self._register(metric)
        build = Metric("build_info", MetricKind.GAUGE, "Which Chronos this is; always 1.", ("version", "python"))
        self._register(build)
        self.gauge("build_info", 1, {"version": chronos.__version__, "python": platform.python_version()})

    def page(self) -> bytes:
        """Return everything in the text format 0.0.4. May be called from another thread."""
        return generate_latest(self._registry)

    def count(self, name: str, value: float, labels: dict[str, str]) -> None:
        child = self._child(name, MetricKind.COUNTER, labels)
        if isinstance(child, Counter) and value >= 0:
            child.inc(value)

    def gauge(self, name: str, value: float, labels: dict[str, str]) -> None:
        child = self._child(name, MetricKind.GAUGE, labels)
        if isinstance(child, Gauge):
            child.set(value)

    def observe(self, name: str, values: Sequence[float], labels: dict[str, str]) -> None:
        if not labels and (plain := self._plain.get(name)) is not None:
            plain.add_all(values)
            return
        child = self._child(name, MetricKind.HISTOGRAM, labels)
        if isinstance(child, Tally):
            child.add_all(values)

    def on_events(self, events: Sequence[Event]) -> None:
        """Count what has ended; give a deleted job's series back."""
        ended: list[Execution] = []
        for event in events:
            if event.execution is not None:
                ended.append(event.execution)
            elif event.type is EventType.JOB_DELETED:
                self.executions.count(ended)
                self.executions.forget(event.job_id)
                ended = []
        self.executions.count(ended)

    def _child(self, name: str, kind: MetricKind, labels: dict[str, str]) -> Counter | Gauge | Tally | None:
        known = self._kinds.get(name) or self._admit(name, kind, labels)
        if known is None:
            return None
        if known[0] is not kind or len(known[1]) != len(labels) or not all(map(labels.__contains__, known[1])):
            self._warn(name, "a metric was emitted as something else than it is", kind=kind, labels=sorted(labels))
            return None
        metric = self._metrics[name]
        if not labels:
            return metric.labels() if isinstance(metric, Histogram) else metric
        values = self._series.of(name, tuple(labels[label] for label in known[1]))
        child = self._children.get((name, values))
        if child is None:
            child = self._children[name, values] = metric.labels(*values)
        return child

    def _admit(self, name: str, kind: MetricKind, labels: dict[str, str]) -> tuple[MetricKind, tuple[str, ...]] | None:
        """Register a gauge of the table with its first emission, or a name that nobody has announced."""
        metric = TABLE.get(name)
        if metric is None and (metric := self._unannounced(name, kind, labels)) is None:
            return None
        self._register(metric)
        return self._kinds[name]

    def _unannounced(self, name: str, kind: MetricKind, labels: dict[str, str]) -> Metric | None:
        if self._dynamic >= DYNAMIC_NAMES_MAX:
            self._warn("(bound)", "too many metrics outside the table; new ones are dropped", name=name)
            return None
        if not _NAME.fullmatch(name) or not all(map(_LABEL.fullmatch, labels)):
            self._warn("(name)", "a metric's name or label is not one Prometheus takes; it is dropped", name=name)
            return None
        self._dynamic += 1
        buckets = WEB if kind is MetricKind.HISTOGRAM else ()
        return Metric(name, kind, f"Emitted as {name}.", tuple(sorted(labels)), buckets)

    def _register(self, metric: Metric) -> None:
        name = PREFIX + metric.name
        made: Counter | Gauge | Histogram
        if metric.kind is MetricKind.COUNTER:
            made = Counter(name, metric.help, metric.labels, registry=self._registry)
        elif metric.kind is MetricKind.HISTOGRAM:
            made = Histogram(PREFIX, metric)
            self._registry.register(made)
            if not metric.labels:
                self._plain[metric.name] = made.labels()
        elif name.endswith("_total"):
            made = Gauge(name, metric.help, metric.labels, registry=None)
            self._registry.register(Untyped(made))
        else:
            made = Gauge(name, metric.help, metric.labels, registry=self._registry)
        self._metrics[metric.name] = made
        self._kinds[metric.name] = (metric.kind, metric.labels)

    def _warn(self, about: str, what: str, **facts: object) -> None:
        if about not in self._warned:
            self._warned.add(about)
            _log.warning(what, metric=about, **facts)


class Untyped(Collector):
    """Shows a gauge without its type.

    `chronos_jobs_total` is a documented name and a gauge; Prometheus' own check keeps `_total` for counters.
    Called a counter it would be a lie (jobs get deleted), so it says nothing about its type.
    """

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge

    def collect(self) -> Iterator[Family]:
        for family in self._gauge.collect():
            family.type = "unknown"
            yield family
