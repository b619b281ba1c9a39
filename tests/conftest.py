"""What every test shares: properties that draw the same cases each time, and the order.

A run that fails must fail again. `CHRONOS_HYPOTHESIS=explore` draws anew, to look for what nobody has thought of.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

LONGEST = (
    "acceptance/rpr/test_endurance.py",
    "acceptance/test_cluster_change.py",
    "acceptance/test_far_behind.py",
    "acceptance/test_growing.py",
    "acceptance/test_metrics.py",
    "acceptance/test_package.py",
    "acceptance/test_showcase.py",
    "cluster_faults/test_faults.py",
    "torture/test_kills.py",
)
"""Modules that wait for clocks and processes, up to a minute and a half a test: begun last, they would keep everybody
waiting; begun first, others compute meanwhile."""

UMASK = 0o022  # most machines' own; with a stricter one a test could not see that something is left open to others

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("CHRONOS_HYPOTHESIS", "repeatable"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest; else everything stays where it was."""
    folder = Path(__file__).parent
    longest = {folder / name for name in LONGEST}
    items.sort(key=lambda item: item.path not in longest)


@pytest.fixture(autouse=True, scope="session")
def _umask_of_a_user() -> Iterator[None]:
    before = os.umask(UMASK)
    yield
    os.umask(before)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Let no module set up another one's process: a command that is run in here says what it logs and who may read."""
    if nextitem is not None and nextitem.path != item.path:
        structlog.reset_defaults()
        os.umask(UMASK)
