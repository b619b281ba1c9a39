"""Where the sockets are: a private folder with a short path, the same for every start on one data folder."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from chronos.errors import ConfigInvalid

REQUESTS, LINK = "requests", "link"
PATH_BYTES_MAX = 100
"""A socket's path has 108 bytes on Linux and 104 on macOS."""

_LONGEST = len(REQUESTS) + 1


def socket_folder(data: Path, environ: Mapping[str, str]) -> Path:
    """Return the folder for a data folder's sockets, made and emptied: whoever holds the data folder owns it.

    Raises:
        ConfigInvalid: Somebody else has it, or it cannot be made.
    """
    name = f"chronos-{hashlib.blake2b(str(data.resolve()).encode(), digest_size=4).hexdigest()}"
    folder = _place(name, environ)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise ConfigInvalid(f"{folder} belongs to somebody else; remove it, or set XDG_RUNTIME_DIR.")
        folder.chmod(0o700)
        for left in (REQUESTS, LINK):
            (folder / left).unlink(missing_ok=True)
    except OSError as exc:
        raise ConfigInvalid(f"{folder}, the folder for sockets, cannot be used: {exc.strerror}.") from exc
    return folder


def _place(name: str, environ: Mapping[str, str]) -> Path:
    temporary = Path(tempfile.gettempdir())
    # Beside others' folders the name says whose it is, so that two users with one data path do not meet; whether
    # it is a folder and theirs is looked at once it is there.
    places = [temporary / f"{name}-{os.geteuid()}", Path("/tmp") / f"{name}-{os.geteuid()}"]  # noqa: S108  # owner and kind are checked
    if environ.get("XDG_RUNTIME_DIR"):
        places.insert(0, Path(environ["XDG_RUNTIME_DIR"]) / name)
    return next((place for place in places if _fits(place)), places[-1])


def _fits(place: Path) -> bool:
    is_short = len(os.fsencode(place)) + _LONGEST <= PATH_BYTES_MAX
    return is_short and place.parent.is_dir() and os.access(place.parent, os.W_OK)
