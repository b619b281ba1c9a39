"""Where crash tests keep their files, and how much of them is done."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.dose import dose

MEMORY = Path("/dev/shm")

TIMES = int(os.environ.get("CHRONOS_CRASH_TIMES", "1"))
"""How many times as much as `make proof` does is done; `make torture` raises it."""

FIRST_SEED = int(os.environ.get("CHRONOS_CRASH_SEED", "0"))
"""Seeds are counted from here, so that a long run does not repeat what CI has done."""


SAMPLED = 3
"""`make test` does one in so many."""


def seeds(count: int) -> list[int]:
    """Return the seeds of one test."""
    everything = range(FIRST_SEED, FIRST_SEED + count * TIMES)
    return dose(everything, count // SAMPLED) if TIMES == 1 else list(everything)


@contextmanager
def memory_folder() -> Iterator[Path]:
    """Return a folder in memory where there is one: the real disk's own slowness is not what is tested."""
    folder = Path(tempfile.mkdtemp(prefix="chronos-crash-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
