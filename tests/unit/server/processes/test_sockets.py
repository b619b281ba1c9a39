"""The sockets' folder: private, short, one for each data folder, and left behind by nobody."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest

from chronos.errors import ConfigInvalid
from chronos.server.processes import sockets
from chronos.server.processes.sockets import LINK, PATH_BYTES_MAX, REQUESTS, socket_folder


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short folder that stands for the one of the user's session."""
    folder = Path(tempfile.mkdtemp(prefix="run-"))
    monkeypatch.setattr(sockets, "PATH_BYTES_MAX", max(PATH_BYTES_MAX, len(str(folder)) + 40))
    return folder


def test_it_is_private_and_the_same_at_every_start(tmp_path: Path, runtime: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    folder = socket_folder(tmp_path, environ)

    assert folder.parent == runtime
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert socket_folder(tmp_path, environ) == folder
    assert socket_folder(tmp_path / "other", environ) != folder


def test_what_a_killed_server_has_left_is_removed(tmp_path: Path, runtime: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    folder = socket_folder(tmp_path, environ)
    for name in (REQUESTS, LINK):
        (folder / name).touch()
    folder.chmod(0o755)

    assert list(socket_folder(tmp_path, environ).iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_that_somebody_has_laid_in_its_place_is_refused(tmp_path: Path, runtime: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    folder = socket_folder(tmp_path, environ)
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigInvalid, match="belongs to somebody else"):
        socket_folder(tmp_path, environ)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_path_too_long_for_a_socket_is_passed_over(tmp_path: Path, runtime: Path) -> None:
    deep = runtime / ("x" * 120)
    deep.mkdir()

    folder = socket_folder(tmp_path, {"XDG_RUNTIME_DIR": str(deep)})

    assert folder.parent != deep
    folder.rmdir()
