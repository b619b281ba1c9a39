"""The keys that all nodes of a cluster share: what one has sealed, handed out or signed, another opens and knows."""

from __future__ import annotations

import os
from pathlib import Path

from chronos.errors import ConfigInvalid, NotFound
from chronos.model.formats import key_text
from chronos.server.premises import KEY_BYTES, TEXT_BYTES_MAX
from chronos.timing.clock import Chance

SHARED = ("api-key-pepper", "callbacks", "credentials", "cursors")
"""In `keys/` of every data folder; beside it lies the administrator's key."""

ADMIN_FILE = "admin.key"


def make_keys(admin: str, chance: Chance) -> dict[str, str]:
    """Return new keys: file name → text; `admin` is the administrator's."""
    return {**{name: key_text(chance.bytes(KEY_BYTES)) for name in SHARED}, ADMIN_FILE: admin + "\n"}


def take_keys(data: Path, admin: str, chance: Chance) -> dict[str, str]:
    """Return the keys of a data folder, and new ones where it has none.

    Raises:
        NotFound: It is no data folder.
        ConfigInvalid: A key cannot be read.
    """
    if not (data / "keys").is_dir():
        raise NotFound(f"There are no keys in {data}: name the data folder of a server that has been started.")
    found = {name: _read(_place(data, name)) for name in (*SHARED, ADMIN_FILE) if _place(data, name).exists()}
    return make_keys(admin, chance) | found


def read_keys(folder: Path) -> dict[str, str]:
    """Return the shared keys that a folder has, of whatever kind it is: a data folder, a node's, or the authority's.

    Raises:
        NotFound: One is missing.
        ConfigInvalid: One cannot be read.
    """
    found = {}
    for name in (*SHARED, ADMIN_FILE):
        places = [path for path in (folder / "keys" / name, _place(folder, name)) if path.is_file()]
        if not places:
            raise NotFound(f"There is no key `{name}` in {folder}.")
        found[name] = _read(places[0])
    return found


def plant_keys(keys: Path, data: Path) -> list[str]:
    """Copy the shared keys into a data folder that lacks them; return the names of those that were copied.

    Raises:
        ConfigInvalid: One cannot be read, or the data folder has another under its name.
    """
    planted = []
    for name in (*SHARED, ADMIN_FILE):
        text, place = _read(keys / name), _place(data, name)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        if place.exists():
            if _read(place).strip() != text.strip():
                raise ConfigInvalid(
                    f"`cluster.keys_dir`: {keys / name} and {place} differ: this data folder is of another cluster, or "
                    "was started alone. Give the node an empty data folder."
                )
            continue
        _write(place, text)
        planted.append(name)
    return planted


def _place(data: Path, name: str) -> Path:
    return data / name if name == ADMIN_FILE else data / "keys" / name


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(TEXT_BYTES_MAX).decode(errors="replace")
    except OSError as exc:
        raise ConfigInvalid(f"`cluster.keys_dir`: {path} cannot be read: {(exc.strerror or '').lower()}.") from exc


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.new")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
