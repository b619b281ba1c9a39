"""The server's private files: keys, and texts that are written once. Folder 0700, files 0600, no links followed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from chronos.errors import ConfigInvalid
from chronos.model.formats import key_of, key_text
from chronos.timing.clock import Chance

KEY_BYTES = 32
TEXT_BYTES_MAX = 4_096

_NAME = re.compile(r"^[a-z][a-z0-9.-]{0,63}$")


class ServerPremises:
    """Implements `model.premises.Premises` over the data folder."""

    def __init__(self, folder: Path, chance: Chance, *, on_loopback: bool, insecure: bool) -> None:
        self._folder = folder
        self._chance = chance
        self._on_loopback = on_loopback
        self._insecure = insecure

    @property
    def listens_on_loopback(self) -> bool:
        return self._on_loopback

    @property
    def is_insecure_allowed(self) -> bool:
        return self._insecure

    def key(self, name: str) -> bytes:
        """Return the key `name` of `keys/`; a damaged one is an error, never a fresh key in its place.

        Raises:
            ConfigInvalid: The file cannot be read, or is no key.
            FormatUnreadable: A newer release wrote it.
        """
        assert _NAME.match(name), name
        folder = self._folder / "keys"
        folder.mkdir(mode=0o700, exist_ok=True)
        text = _once(folder / name, key_text(self._chance.bytes(KEY_BYTES)))
        try:
            key = key_of(folder / name, text)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise ConfigInvalid(f"{folder / name} is not a key of {KEY_BYTES} bytes in hex; restore it from a backup.")
        return key

    def keep_once(self, name: str, text: str) -> str:
        assert _NAME.match(name), name
        return _once(self._folder / name, text + "\n")


class ServerEntrance:
    """Implements `model.premises.Entrance`; `listener_url` is set once there is a listener."""

    def __init__(self, public_url: str) -> None:
        self.public_url = public_url
        self.listener_url = ""


def _once(path: Path, text: str) -> str:
    """Return what `path` holds; write `text` first if it is not there."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return _read(path)
    except OSError as exc:
        raise ConfigInvalid(f"{path} cannot be written: {exc.strerror}.") from exc
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return text


def _read(path: Path) -> str:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as exc:
        raise ConfigInvalid(f"{path} cannot be read: {exc.strerror}.") from exc
    with os.fdopen(handle, "rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise ConfigInvalid(f"{path} can be read by others; `chmod 600` it, or remove it to get a new one.")
        return file.read(TEXT_BYTES_MAX).decode(errors="replace")
