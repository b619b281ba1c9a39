"""Where secrets are kept: the server's environment, and a folder of files."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from chronos.dispatch.references import SecretUnavailable
from chronos.features.secrets.model import Settings

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*){0,7}")


class Source(Protocol):
    """Knows secrets by name."""

    async def read(self, name: str) -> str:
        """Return the secret.

        Raises:
            SecretUnavailable: Why not, as the end of a sentence that begins with the reference; never the value.
        """
        ...


class EnvSource:
    """Variables of the server's environment that the settings let through."""

    def __init__(self, settings: Settings, environ: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._environ = os.environ if environ is None else environ

    async def read(self, name: str) -> str:
        """Return the variable. See `Source.read`."""
        settings = self._settings
        if name not in settings.env_names and not name.startswith(tuple(settings.env_prefixes)):
            prefixes = ", ".join(settings.env_prefixes) or "none"
            raise SecretUnavailable(
                f"may not be read: only variables that begin with {prefixes} may (secrets.env_names)"
            )
        value = self._environ.get(name)
        if value is None:
            raise SecretUnavailable("is not set in the server's environment")
        return value


class FileSource:
    """Files below one folder. Links are followed as long as they stay in it, as Kubernetes' mounts need it."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.directory
        self._bytes_max = settings.file_bytes_max

    async def read(self, name: str) -> str:
        """Return the file's text without its last line break. See `Source.read`."""
        if self._folder is None:
            raise SecretUnavailable("may not be read: no folder is configured (secrets.directory)")
        if not _FILE_NAME.fullmatch(name):
            raise SecretUnavailable("is not the name of a file below the configured folder")
        return await asyncio.to_thread(self._read, Path(self._folder), name)

    def _read(self, folder: Path, name: str) -> str:
        try:
            root = folder.resolve(strict=True)
            path = (root / name).resolve(strict=True)
            if root not in path.parents:
                raise SecretUnavailable("leads out of the configured folder")
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                self._vet(os.fstat(file.fileno()))
                data = file.read(self._bytes_max + 1)
        except OSError as failed:
            raise SecretUnavailable(f"cannot be read: {(failed.strerror or 'it leads nowhere').lower()}") from None
        if len(data) > self._bytes_max:
            raise SecretUnavailable(f"is larger than {self._bytes_max:,} bytes")
        try:
            return data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise SecretUnavailable("is not UTF-8 text") from None

    def _vet(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise SecretUnavailable("is not a file")
        if found.st_uid not in (0, os.geteuid()):
            raise SecretUnavailable("belongs to another user than the server's")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SecretUnavailable("can be written by others; take that right away (chmod go-w)")
