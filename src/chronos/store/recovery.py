"""What becomes of state and history when they, or the log, are damaged."""

from __future__ import annotations

from pathlib import Path

from chronos.store.sqlitefile import translated
from chronos.store.statefile import StateWriter

_STATE = "state.db"
_PLACES_MAX = 1_000


def applied_entry(folder: Path) -> int:
    """Return the last entry that state has folded; 0 when there is no state.

    Raises:
        StateDamaged: The file is not what was written.
    """
    path = folder / _STATE
    if not path.exists():
        return 0
    with translated(path):
        writer = StateWriter(path)
        try:
            writer.verify()
            return writer.applied
        finally:
            writer.close()


def set_state_aside(folder: Path) -> Path:
    """Move state and history into a folder of their own beside them, and return it."""
    places = (folder / f"damaged-{number}" for number in range(1, _PLACES_MAX))
    aside = next(place for place in places if not place.exists())
    aside.mkdir(mode=0o700)
    for name in (_STATE, f"{_STATE}-wal", "history"):
        if (folder / name).exists():
            (folder / name).rename(aside / name)
    (folder / f"{_STATE}-shm").unlink(missing_ok=True)
    return aside
