"""How this process reaches its engine: through a socket in a folder that only its user may enter."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from chronos.cluster.etcd.flags import SOCKET, EngineSettings
from chronos.errors import ConfigInvalid

PATH_BYTES_MAX = 103
"""Longer ones do not fit into a socket's address, macOS'; Linux takes four more."""


def socket_of(settings: EngineSettings) -> str:
    """Return the path of the engine's socket; one of this process alone where the folder's own path is too long.

    Raises:
        ConfigInvalid: It is too long, and there is no other way on this system.
    """
    path = str(settings.run_dir / SOCKET)
    if (over := len(os.fsencode(path)) - PATH_BYTES_MAX) <= 0:
        return path
    if sys.platform != "linux":
        raise ConfigInvalid(
            f"`cluster.data_dir`: {settings.data_dir} is {over} characters too long for the engine's socket in it."
        )
    return f"/proc/self/fd/{_held(settings.run_dir)}/{SOCKET}"


def endpoint_of(settings: EngineSettings) -> str:
    """Return what a client of the engine connects to.

    Raises:
        ConfigInvalid: See `socket_of`.
    """
    return f"unix:{socket_of(settings)}"


@cache
def _held(folder: Path) -> int:
    """Return a descriptor of a folder that stays open for as long as this process lives; there is one engine."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
