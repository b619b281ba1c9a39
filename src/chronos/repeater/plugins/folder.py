"""The directory plug-ins may lie in, and what makes a file in it trustworthy: its owner, its mode, its pinned hash."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from typing import NamedTuple

from chronos.repeater.plugins.header import SOURCE_BYTES_MAX, read_header
from chronos.repeater.plugins.port import NAME, PluginInvalid, PluginRefused, PluginUnknown, Source

FILES_MAX = 1_000
SUFFIX = ".py"
_NAME = re.compile(NAME)
Stat = Callable[[int], os.stat_result]


class Text(NamedTuple):
    """What a file held when it was read, once: what is hashed is what is run."""

    text: str
    sha256: str


class Folder:
    """A directory with plug-ins, one file each, called after the plug-in.

    Args:
        pins: Name → SHA-256 of the plug-ins that may be used.
        look: How descriptors are looked at; another one in tests.
    """

    def __init__(self, path: str, pins: Mapping[str, str], look: Stat = os.fstat) -> None:
        self._path = os.path.abspath(os.path.expanduser(path))
        self._pins = pins
        self._look = look

    def names(self) -> list[str]:
        """Return the names of the files that may be plug-ins, sorted.

        Raises:
            PluginRefused: Others may write to the directory, or it is not ours.
            PluginInvalid: It cannot be read, or has more than 1,000 files.
        """
        directory = self._open()
        try:
            found = sorted(os.listdir(directory))
        finally:
            os.close(directory)
        if len(found) > FILES_MAX:
            raise PluginInvalid(f"{self._path} has more than {FILES_MAX} files; keep plug-ins in a directory apart.")
        files = (name for name in found if name.endswith(SUFFIX) and not name.startswith(("_", ".")))
        return [name.removesuffix(SUFFIX) for name in files]

    def has(self, name: str) -> bool:
        """Whether there is a file of that name; it need not be fit for use."""
        # A name leads nowhere else: the directory's check says nothing about its neighbours.
        return bool(_NAME.match(name)) and os.path.lexists(self.path_of(name))

    def unpinned(self, name: str) -> Source:
        """Return a plug-in whose hash was not compared: to be shown, never to be run.

        Raises:
            PluginUnknown: There is no such file.
            PluginRefused: The file or the directory is not ours, others may write to it, or it is no plain file.
            PluginInvalid: It is no plug-in.
        """
        directory = self._open()
        try:
            read = self._read(directory, name)
        finally:
            os.close(directory)
        path = self.path_of(name)
        header = read_header(read.text, path)
        if header.name != name:
            raise PluginInvalid(f"{path}: its PLUGIN is called `{header.name}`; call the file {header.name}{SUFFIX}.")
        return Source(header, read.text, path, read.sha256, self._path)

    def trusted(self, name: str) -> Source:
        """Return a plug-in that may be run.

        Raises:
            PluginRefused: Its hash is not the one that was pinned, or none was; or as in `unpinned`.
        """
        source = self.unpinned(name)
        state = self.state_of(source)
        if state == PINNED:
            return source
        what = "has changed since it was pinned" if state == CHANGED else "is not pinned"
        raise PluginRefused(
            f'{source.path} {what}; read it, and if you trust it put `{name} = "{source.sha256}"` under'
            " [plugins.pins] in the config file."
        )

    def state_of(self, source: Source) -> str:
        """Return `pinned`, `not pinned` or `changed`."""
        pin = self._pins.get(source.header.name)
        if pin is None:
            return UNPINNED
        return PINNED if pin == source.sha256 else CHANGED

    def path_of(self, name: str) -> str:
        """Return where the file of that name is, or would be."""
        return os.path.join(self._path, name + SUFFIX)

    def _open(self) -> int:
        try:
            directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as exc:
            raise PluginInvalid(f"the plug-in directory {self._path} cannot be read: {exc.strerror}.") from None
        try:
            _need_ours(self._look(directory), self._path)
        except PluginRefused:
            os.close(directory)
            raise
        return directory

    def _read(self, directory: int, name: str) -> Text:
        path = self.path_of(name)
        try:
            # Not blocking: a named pipe would keep us waiting for its writer.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(name + SUFFIX, flags, dir_fd=directory)
        except FileNotFoundError:
            raise PluginUnknown(f"there is no file {path}; `rpr plugins list` lists what there is.") from None
        except OSError as exc:
            raise PluginRefused(f"{path} cannot be used: {exc.strerror}; it must be a plain file, no link.") from None
        with open(fd, "rb") as file:
            found = self._look(fd)
            if not stat.S_ISREG(found.st_mode):
                raise PluginRefused(f"{path} is no plain file.")
            _need_ours(found, path)
            return _text(file.read(SOURCE_BYTES_MAX + 1), path)


UNPINNED, PINNED, CHANGED = "not pinned", "pinned", "changed"


def _text(data: bytes, path: str) -> Text:
    if len(data) > SOURCE_BYTES_MAX:
        raise PluginInvalid(f"{path} is longer than 1 MiB.")
    try:
        return Text(data.decode("utf-8"), hashlib.sha256(data).hexdigest())
    except UnicodeDecodeError:
        raise PluginInvalid(f"{path} is not UTF-8.") from None


def _need_ours(found: os.stat_result, path: str) -> None:
    """Refuse what somebody else owns or may write to."""
    if found.st_uid != os.geteuid():
        raise PluginRefused(f"{path} belongs to user {found.st_uid}, not to you ({os.geteuid()}); chown it or copy it.")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PluginRefused(f"others may write to {path}; run: chmod go-w {path}")
