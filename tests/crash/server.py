"""`chronos` on a disk that fails when a file says so. Everything else is the product's.

    python -m tests.crash.server server --data-dir DIR …     with CRASH_DISK naming a folder for the orders

The orders: `capacity` holds how many bytes fit; `fail-sync` holds a part of the name of the file whose next sync fails.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.torture import server

from chronos.testing.disk import CrashDisk, Doing, Fault

VARIABLE = "CRASH_DISK"


class Orders:
    """Looks for orders before everything the disk does."""

    def __init__(self, disk: CrashDisk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder

    def look(self, doing: Doing, name: str) -> None:
        capacity = self._folder / "capacity"
        self._disk.capacity = int(capacity.read_text()) if capacity.exists() else None
        fail = self._folder / "fail-sync"
        if fail.exists():
            self._disk.faults.append(Fault(on=Doing.SYNC, where=fail.read_text(), forever=True))
            fail.unlink()


def run() -> None:
    """Run the command line on that disk."""
    orders = Path(os.environ[VARIABLE])
    data = Path(sys.argv[sys.argv.index("--data-dir") + 1])
    data.mkdir(exist_ok=True)
    with CrashDisk(data, "failing", is_default=True) as disk:
        disk.listen(Orders(disk, orders).look)
        server.run()


if __name__ == "__main__":
    run()
