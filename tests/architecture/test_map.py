"""ARCHITECTURE.md names the rooms there are."""

from __future__ import annotations

import re

from tests.architecture.source import PACKAGE, ROOT

TEXT = (ROOT / "ARCHITECTURE.md").read_text()


def test_every_room_is_on_the_map_and_every_room_on_the_map_is_there() -> None:
    cells = re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE)
    mapped = {name for cell in cells for name in re.findall(r"`([a-z]+)(?:/\*)?`", cell)}
    rooms = {
        path.stem for path in PACKAGE.iterdir() if (path.is_dir() or path.suffix == ".py") and path.name[0] not in "_."
    }
    assert mapped == rooms


def test_every_feature_is_on_the_map() -> None:
    [row] = [line for line in TEXT.splitlines() if line.startswith("| `features/*`")]
    named = set(re.findall(r"`([a-z]+)`", row.partition("Today:")[2]))
    assert named == {path.name for path in (PACKAGE / "features").iterdir() if (path / "__init__.py").is_file()}
