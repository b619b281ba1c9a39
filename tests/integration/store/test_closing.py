"""Closing on a disk that fails: it is said in our words, so that the process ends with exit code 75."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos.errors import LogFailed
from chronos.store.offload import Inline
from chronos.store.port import Changes, Result
from chronos.store.sqlite import SqliteState
from chronos.store.tables import Meta
from chronos.testing.disk import CrashDisk, Doing, Fault


@pytest.mark.asyncio
async def test_state_that_cannot_be_closed_says_that_the_disk_failed(tmp_path: Path) -> None:
    with CrashDisk(tmp_path, "closing") as disk:
        state = SqliteState(tmp_path, vfs=disk.vfs, offload=Inline)
        await state.start()
        state.commit([Changes(Result(), puts={("meta", "meta"): Meta(term=1)})], 1, 1)
        await state.flush()
        disk.faults.append(Fault(on=Doing.SYNC, where="state.db", forever=True))
        with pytest.raises(LogFailed, match=r"state\.db failed: .*Check the disk"):
            await state.stop()
