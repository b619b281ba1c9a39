"""State and history put in the place of others, from a copy: all of it or nothing, whenever it is cut off.

A copy that is whole and durable gets the name `snapshot.ready`: from then on it counts, and whoever opens the folder
next finishes what is left to do.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from chronos.failpoints import reach
from chronos.store.copying import HISTORY, STATE
from chronos.store.sqlitefile import translated

READY, OLD = "snapshot.ready", "snapshot.old"
_TAILS = ("-wal", "-shm")


def replace(data: Path, copy: Path) -> None:
    """Put state and history of `copy` in the place of those of the data folder `data`, which nobody has open.

    `copy` lies on the same disk, and is gone afterwards.

    Raises:
        StorageFull: There was no space to make it durable; nothing was changed.
    """
    with translated(copy):
        _make_durable(copy)
        shutil.rmtree(data / READY, ignore_errors=True)  # an older one that was never finished
        copy.rename(data / READY)
        _sync(data)
    reach("snapshot.ready")
    finish(data)


def finish(data: Path) -> bool:
    """Finish what `replace` has begun in a data folder; return whether there was anything to do."""
    ready, old = data / READY, data / OLD
    if not ready.is_dir():
        return False
    with translated(ready):
        old.mkdir(mode=0o700, exist_ok=True)
        for name in (HISTORY, STATE):
            if (ready / name).exists():
                _swap(data, ready / name, old / name)
                reach("snapshot.midway")
        _sync(data)
        shutil.rmtree(ready)
        shutil.rmtree(old, ignore_errors=True)
        _sync(data)
    return True


def _swap(data: Path, fresh: Path, old: Path) -> None:
    place = data / fresh.name
    if place.exists():
        _remove(old)  # put there by a start that was cut off before this one
        for tail in _TAILS:  # of the state that goes; a fresh one has none
            place.with_name(place.name + tail).unlink(missing_ok=True)
        place.rename(old)
    fresh.rename(place)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _make_durable(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            _sync(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
