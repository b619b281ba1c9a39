"""Going on after damage: what `chronos recover` does to a data folder that no server uses."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from chronos.cluster import logrecovery
from chronos.cluster.logfile import Fork
from chronos.errors import LogDamaged, NotFound
from chronos.server.admission import refuse_member
from chronos.store.datafolder import DataFolder, DataFolderSettings
from chronos.store.recovery import applied_entry, set_state_aside
from chronos.timing.clock import Clock

_LOCK_ONLY = DataFolderSettings(ballast_bytes=0)


class Found(Struct, frozen=True):
    """How log and state stand.

    Attributes:
        first: The first entry of the log.
        last_good: The last one that verifies.
        applied: The last one that state has folded.
    """

    first: int
    last_good: int
    applied: int


def look(folder: Path) -> Found:
    """Return how log and state stand; nothing is changed.

    Raises:
        DataFolderInUse: Stop the server first.
        StateDamaged: State cannot be read.
        LogDamaged: Nothing of the log can be read.
        NotFound: There is no log in this folder.
    """
    with _locked(folder):
        first, last_good = logrecovery.good_entries(_log_of(folder))
        return Found(first, last_good, applied_entry(folder))


def cut_log(folder: Path, truncate_at: int, clock: Clock) -> Fork:
    """Cut the log off after entry `truncate_at`, and record that in it; what is cut off stays beside it.

    State that is ahead stays as it is, and the log goes on behind it.

    Raises: as `look`, and
        LogDamaged: What would be left does not verify either.
    """
    with _locked(folder):
        path = _log_of(folder)
        return logrecovery.recover(
            path, truncate_at, applied=applied_entry(folder), time_us=int(clock.time() * 1_000_000)
        )


def rebuild_state(folder: Path) -> Path:
    """Set state and history aside, so that the next start folds them anew; return where they lie.

    Raises:
        LogDamaged: The log does not reach back to its first entry, or is damaged itself.
    """
    with _locked(folder):
        first, _ = logrecovery.good_entries(_log_of(folder))
        if first > 1:
            raise LogDamaged(
                f"The log begins at entry {first}: what was folded before is in state and history only. "
                "Restore a backup.",
                first=first,
            )
        return set_state_aside(folder)


def _locked(folder: Path) -> DataFolder:
    if not folder.is_dir():
        raise NotFound(f"{folder} is not a data folder.")
    return DataFolder(folder, _LOCK_ONLY)


def _log_of(folder: Path) -> Path:
    refuse_member(
        folder,
        "There is nothing to cut off here. When `state.db` and `history` are moved aside, the next start has them "
        "again from the log or from another member.",
    )
    path = folder / "log" / "log.db"
    if not path.exists():
        raise NotFound(f"{path} is not there: {folder} is not a data folder, or has no log yet.")
    return path
