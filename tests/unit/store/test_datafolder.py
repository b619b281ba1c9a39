from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chronos.errors import DataFolderInUse, StorageFull
from chronos.store import datafolder
from chronos.store.datafolder import DataFolder, DataFolderSettings

SMALL = DataFolderSettings(ballast_bytes=100_000)


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_laid_out_for_its_owner_only(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "deep" / "data", SMALL) as folder:
        for name in ("", "log", "history", "keys", "bodies"):
            assert mode(folder.path / name) == 0o700
        (folder.path / "later").write_text("x")
        for name in ("LOCK", "ballast", "later"):
            assert mode(folder.path / name) == 0o600


def test_a_folder_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir(mode=0o755)
    with DataFolder(tmp_path, SMALL):
        assert mode(tmp_path / "log") == mode(tmp_path) == 0o700


def test_a_folder_in_use_is_refused_and_its_process_named(tmp_path: Path) -> None:
    with DataFolder(tmp_path, SMALL):
        with pytest.raises(DataFolderInUse) as caught:
            DataFolder(tmp_path, SMALL).open()
        assert caught.value.facts["pid"] == str(os.getpid())
        assert f"process {os.getpid()}" in str(caught.value)
    with DataFolder(tmp_path, SMALL):
        pass


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys; from chronos.store.datafolder import *; "
        "DataFolder(pathlib.Path(sys.argv[1]), DataFolderSettings(ballast_bytes=0)).open(); os._exit(9)"
    )
    died = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert died.returncode == 9
    with DataFolder(tmp_path, SMALL):
        assert (tmp_path / "LOCK").read_text() == f"{os.getpid()}\n"


def test_the_ballast_takes_up_real_space_and_gives_it_back(tmp_path: Path) -> None:
    with DataFolder(tmp_path, SMALL) as folder:
        ballast = tmp_path / "ballast"
        assert ballast.stat().st_size == 100_000
        assert ballast.stat().st_blocks * 512 >= 100_000
        folder.drop_ballast()
        folder.drop_ballast()
        assert not ballast.exists()
        assert folder.take_ballast()
        assert ballast.stat().st_size == 100_000


def test_without_space_the_ballast_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, size: int) -> None:
        path.write_bytes(b"half of it")
        raise StorageFull

    with DataFolder(tmp_path, SMALL) as folder:
        folder.drop_ballast()
        monkeypatch.setattr(datafolder, "_fill", full)
        assert not folder.take_ballast()
        assert not (tmp_path / "ballast").exists()


def test_a_folder_that_was_never_opened_closes(tmp_path: Path) -> None:
    DataFolder(tmp_path).close()


def test_the_ballast_never_fills_the_disk(tmp_path: Path) -> None:
    with DataFolder(tmp_path, DataFolderSettings(ballast_bytes=1 << 62)) as folder:
        assert not folder.take_ballast()
        assert not (tmp_path / "ballast").exists()
