"""When the files go to the process: as soon as there is much to write."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import apsw
import structlog

from chronos.errors import ChronosError
from chronos.store.background.files import AnyState, BackgroundSegment, BackgroundState
from chronos.store.background.process import BackgroundProcess, Lost

if TYPE_CHECKING:
    from chronos.store.history import History

HURRIED_ROWS = 200_000
"""A flush of so many rows has waited for long: it gets its share of the cores, or the next would be larger still."""

log = structlog.get_logger("chronos.state")

STARTS_MAX = 5
"""So often a process is started; whoever loses them all, to want of memory for instance, goes on without."""


class Settings(Protocol):
    """What it goes by: `StateSettings`."""

    @property
    def pages_max(self) -> int: ...
    @property
    def background_rows(self) -> int: ...


class Relief:
    """Relieves the thread that writes, to which it belongs.

    Args:
        state: Where state.db is.
        history: Writes the segments beside it.
        vfs: Of a file system that no other process knows: it is written to by the thread, however much that is.

    Attributes:
        process: The process; None without one.
    """

    def __init__(self, state: Path, history: History, settings: Settings, vfs: str | None) -> None:
        self._path = state
        self._history = history
        self._pages_max = settings.pages_max
        self._rows = 0 if vfs else settings.background_rows
        self._starts = 0
        self.process: BackgroundProcess | None = None
        self._is_patient = False

    def writer(self, writer: AnyState, rows: int) -> AnyState:
        """Return what is to write state.db from now on, of which so many rows are due: `writer`, or who takes over."""
        process = self.process
        if process is not None and not process.is_lost:
            process.is_patient = self._is_patient and rows < HURRIED_ROWS
            return writer
        if not self._rows or rows < self._rows or self._starts >= STARTS_MAX or self._history.missing:
            return writer
        self._starts += 1
        try:
            self.process = BackgroundProcess(self._path.parent / "history")
            return self._handed_over(writer, self.process)
        except (ChronosError, Lost, OSError) as exc:
            self.close()
            log.warning("background_not_started", reason=str(exc))
            return writer

    def _handed_over(self, writer: AnyState, process: BackgroundProcess) -> AnyState:
        state = BackgroundState(process, self._path, self._pages_max, writer)
        # Further than anybody has heard is a file whose last write a lost process committed without having said so.
        assert state.applied >= writer.applied
        self._history.hand_over(partial(BackgroundSegment, process))
        with suppress(apsw.Error):  # that it could not be folded in is met by whoever writes next
            writer.close()
        process.is_patient = self._is_patient
        log.info("background_started", pid=process.pid)
        return state

    def be(self, *, patient: bool) -> None:
        """Let what is begun from now on be patient, or not; for any thread."""
        self._is_patient = patient
        if self.process is not None:
            self.process.is_patient = patient

    def close(self) -> None:
        """Let the process end, which has nothing to do any more."""
        if self.process is not None:
            self.process.close()
            self.process = None
