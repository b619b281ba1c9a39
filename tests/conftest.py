"""What every test shares: properties that draw the same cases each time, and the order.

A run that fails must fail again. `CHRONOS_HYPOTHESIS=explore` draws anew, to look for what nobody has thought of.
"""

from __future__ import annotations

import os

import pytest
import structlog
from hypothesis import settings

LONGEST = (
    "test_metrics.py",
    "test_endurance.py",
    "test_kills.py",
    "test_faults.py",
    "test_package.py",
    "test_far_behind.py",
    "test_cluster_change.py",
    "test_growing.py",
)
"""Modules that wait for clocks and processes, up to a minute and a half a test: begun last, they would keep everybody
waiting; begun first, others compute meanwhile."""

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("CHRONOS_HYPOTHESIS", "repeatable"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest; else everything stays where it was."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Let no module set up how another one's lines are logged: a command that is run in here does."""
    if nextitem is not None and nextitem.path != item.path:
        structlog.reset_defaults()
