"""The server's private files."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

import pytest

from chronos.errors import ConfigInvalid
from chronos.server.premises import ServerPremises
from chronos.timing.clock import SeededChance


def premises(folder: Path, seed: int = 1) -> ServerPremises:
    return ServerPremises(folder, SeededChance(random.Random(seed)), on_loopback=True, insecure=False)


def test_a_key_is_drawn_once_and_stays(tmp_path: Path) -> None:
    first = premises(tmp_path).key("cursors")

    assert len(first) == 32
    assert premises(tmp_path, seed=2).key("cursors") == first
    assert stat.S_IMODE((tmp_path / "keys" / "cursors").stat().st_mode) == 0o600


def test_two_keys_are_two(tmp_path: Path) -> None:
    house = premises(tmp_path)

    assert house.key("a") != house.key("b")


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "00" * 33])
def test_a_damaged_key_is_told_and_never_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").mkdir()
    path = tmp_path / "keys" / "cursors"
    path.touch(0o600)
    path.write_text(text)

    with pytest.raises(ConfigInvalid, match="backup"):
        premises(tmp_path).key("cursors")
    assert path.read_text() == text


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    premises(tmp_path).keep_once("admin.key", "text")
    os.chmod(tmp_path / "admin.key", 0o644)

    with pytest.raises(ConfigInvalid, match="chmod 600"):
        premises(tmp_path).keep_once("admin.key", "other")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / "admin.key").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigInvalid):
        premises(tmp_path).keep_once("admin.key", "text")
    assert (tmp_path / "elsewhere").read_text() == "x"


def test_a_text_is_kept_as_it_was_first(tmp_path: Path) -> None:
    assert premises(tmp_path).keep_once("admin.key", "one").strip() == "one"
    assert premises(tmp_path).keep_once("admin.key", "two").strip() == "one"
