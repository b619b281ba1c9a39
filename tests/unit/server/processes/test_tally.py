"""What is counted in an API process reaches main once, and in bounds."""

from __future__ import annotations

import pytest

from chronos.server.processes import tally as module
from chronos.server.processes.messages import Counted
from chronos.server.processes.tally import Tally
from chronos.telemetry import Telemetry


def test_counts_and_measurements_are_told_once() -> None:
    tally, telemetry = Tally(), Telemetry()
    telemetry.add_sink(tally)
    for _ in range(3):
        telemetry.count("requests", status="200")
    telemetry.count("requests", status="404")
    telemetry.observe("seconds", 0.5, path="/")
    telemetry.observe("seconds", 0.25, path="/")
    telemetry.gauge("depth", 7)

    told = tally.take()

    counts = [("requests", {"status": "200"}, 3.0), ("requests", {"status": "404"}, 1.0)]
    assert told == Counted(counts, [("seconds", {"path": "/"}, [0.5, 0.25])])
    assert tally.take() is None


def test_measurements_are_bounded_and_counts_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VALUES_MAX", 5)
    tally = Tally()
    for _ in range(9):
        tally.count("requests", 1.0, {})
        tally.observe("seconds", [1.0], {})

    told = tally.take()

    assert told is not None
    assert (told.counts, told.observed) == ([("requests", {}, 9.0)], [("seconds", {}, [1.0] * 5)])
