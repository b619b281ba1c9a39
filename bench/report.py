"""What every benchmark tells: a line for people, or one JSON object that later runs can be compared with."""

from __future__ import annotations

import argparse
import os
import platform
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import msgspec
from bench.pace import between, look

from chronos import __version__

BEGAN = look()
"""The machine when this program began."""

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True)
class Report:
    """One benchmark's answer.

    Attributes:
        figure: The number that the benchmark is about, in `unit`.
        better: `lower` or `higher`.
        percentiles: Of the figure's distribution, in `unit`; empty where there is none.
        cpu_s: Seconds of CPU by who used them.
        settings: What was asked for, so that two runs can be told apart.
        details: Whatever else was measured.
        budget: What the figure should not pass; None where nothing is promised.
    """

    bench: str
    figure: float
    unit: str
    better: str = "lower"
    percentiles: Mapping[str, float] = field(default_factory=dict)
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)
    budget: float | None = None

    @property
    def is_within_budget(self) -> bool:
        if self.budget is None:
            return True
        return self.figure <= self.budget if self.better == "lower" else self.figure >= self.budget

    def line(self) -> str:
        """Return the answer for people."""
        spread = ", ".join(f"{name} {value:g}" for name, value in self.percentiles.items())
        return f"{self.bench}: {self.figure:g} {self.unit}{f' ({spread})' if spread else ''}"

    def json(self) -> str:
        """Return the answer on one line of JSON, with what it was measured on."""
        about = {"versions": versions(), "machine": machine(), "pace": pace()}
        return msgspec.json.encode({**vars(self), **about}).decode()


def lateness(values_ms: Sequence[float]) -> dict[str, float]:
    """Return p50, p95, p99 and max of milliseconds; nothing of nothing."""
    ordered = sorted(values_ms)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)
        for name, share in shares.items()
        if ordered
    }


def percentiles(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Return the percentiles of at least one value, by nearest rank."""
    return _ranks(values, PERCENTILES, digits)


def _ranks(values: Sequence[float], shares: Mapping[str, float], digits: int) -> dict[str, float]:
    ordered = sorted(values)
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], digits) for name, share in shares.items()
    }


def cpu_s(who: int = resource.RUSAGE_SELF) -> float:
    """Return the seconds of CPU used so far, by this process or its ended children."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def versions() -> dict[str, str]:
    """Return what was measured."""
    return {"chronos": __version__, "python": platform.python_version(), "apsw": version("apsw")}


def machine() -> dict[str, object]:
    """Return what it was measured on."""
    return {"system": platform.system(), "release": platform.release(), "cpus": os.cpu_count()}


def pace() -> dict[str, object]:
    """Return how fast the machine was from the beginning of this program until now."""
    return between(BEGAN, look())


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return the command line that every benchmark shares."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="nothing but the JSON object, which is the last line anyway")
    return made


def tell(report: Report, chosen: argparse.Namespace) -> int:
    """Print the report, for people before for programs; return the exit code, 1 when the budget is passed."""
    if not chosen.json:
        print(report.line())
    print(report.json())
    return 0 if report.is_within_budget else 1
