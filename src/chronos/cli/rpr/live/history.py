"""The runs there were and the one that is on, kept within bounds for whoever looks at them from another thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from chronos.repeater.capture import Kept
from chronos.repeater.engine import Report
from chronos.repeater.port import Moment
from chronos.repeater.showing import reason_of
from chronos.repeater.stops import Fate

RUNS_MAX = 200
OUTPUT_BYTES_MAX = 64 * 1024
"""Of one run, stdout and stderr as they came; of more, the beginning and the end."""


class Past(NamedTuple):
    """A run that has ended.

    Attributes:
        output: What it printed, at most about `OUTPUT_BYTES_MAX`.
        size: How many bytes it printed in all.
    """

    number: int
    started_at: float
    seconds: float
    fate: Fate
    exit_code: int
    reason: str
    output: bytes
    size: int


class Present(NamedTuple):
    """A run that is on. `since_s`: the monotonic second of its start."""

    number: int
    since_s: float
    output: bytes


class Snapshot(NamedTuple):
    """Everything at one moment.

    Attributes:
        runs: The last ones that have ended, in that order.
        present: The oldest of those that are on.
        revision: Higher whenever something has happened.
    """

    runs: tuple[Past, ...] = ()
    present: Present | None = None
    ended: int = 0
    failed: int = 0
    revision: int = 0


class _On:
    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.kept = Kept(OUTPUT_BYTES_MAX)


class History:
    """A listener of the engine that remembers the last runs."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._runs: deque[Past] = deque(maxlen=RUNS_MAX)
        self._on: dict[int, _On] = {}
        self._ended = 0
        self._failed = 0
        self._revision = 0

    def began(self, number: int, at: Moment) -> None:
        with self._lock:
            self._on[number] = _On(at.monotonic_s)
            self._revision += 1

    def wrote(self, number: int, stream: int, data: bytes) -> None:
        with self._lock:
            self._on[number].kept.add(data)
            self._revision += 1

    def ended(self, report: Report) -> None:
        run = report.run
        with self._lock:
            kept = self._on.pop(run.number).kept
            self._ended += 1
            self._failed += report.fate.counts and not run.ok
            self._revision += 1
            self._runs.append(
                Past(
                    run.number,
                    run.started_at,
                    max(0.0, run.ended_s - run.started_s),
                    report.fate,
                    run.exit_code,
                    reason_of(report, self._timeout_s),
                    kept.bytes(),
                    kept.size,
                )
            )

    def snapshot(self) -> Snapshot:
        """Return what there is now; from any thread."""
        with self._lock:
            first = min(self._on, default=None)
            on = None if first is None else self._on[first]
            present = None if first is None or on is None else Present(first, on.since_s, on.kept.bytes())
            return Snapshot(tuple(self._runs), present, self._ended, self._failed, self._revision)
