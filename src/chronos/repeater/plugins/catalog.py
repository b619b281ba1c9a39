"""Which plug-ins there are: those that installed packages offer, and those of one directory. None is imported here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from chronos.errors import ChronosError
from chronos.repeater.plugins.folder import Folder
from chronos.repeater.plugins.header import SOURCE_BYTES_MAX, read_header
from chronos.repeater.plugins.port import Kind, PluginInvalid, PluginUnknown, Source

Installed = Mapping[Kind, Iterable[EntryPoint]]


class Entry(NamedTuple):
    """A plug-in as the list has it.

    Attributes:
        kind: Empty when it cannot be told without trusting the file.
        state: `installed`, `pinned`, `not pinned`, `changed`, or `refused`.
        why: What is wrong with it; empty.
    """

    name: str
    kind: str
    version: str
    state: str
    origin: str
    description: str = ""
    why: str = ""


class Catalog:
    """Plug-ins by name.

    Args:
        folder: None: no directory was configured.
    """

    def __init__(self, folder: Folder | None, installed: Installed | None = None) -> None:
        self._folder = folder
        self._installed = _installed() if installed is None else installed

    def entries(self) -> list[Entry]:
        """Return every plug-in, by name; one that cannot be used is there with the reason.

        Raises:
            PluginRefused: The directory as a whole is not to be trusted.
        """
        found = [_entry(point, kind) for kind, points in self._installed.items() for point in points]
        return sorted([*found, *self._in_folder()])

    def find(self, name: str, kind: Kind | None = None) -> Source:
        """Return the plug-in of that name that may be run.

        Args:
            kind: What it must be; None: whatever it is.

        Raises:
            PluginUnknown: There is none.
            PluginInvalid: It is of another kind, there are two of the name, or it is no plug-in.
            PluginRefused: It is not to be trusted.
        """
        points = [(of, point) for of, found in self._installed.items() for point in found if point.name == name]
        in_folder = self._folder is not None and self._folder.has(name)
        if len(points) + in_folder > 1:
            raise PluginInvalid(f"there is more than one plug-in `{name}`; uninstall or rename all but one.")
        if not points and not in_folder:
            where = "installed or in the plug-in directory" if self._folder else "installed, and no directory is set"
            raise PluginUnknown(f"no plug-in `{name}` is {where}; `rpr plugins list` lists those there are.")
        if points:
            source = _source(*points[0])
        else:
            assert self._folder is not None
            source = self._folder.trusted(name)
        if kind is not None and source.header.kind is not kind:
            raise PluginInvalid(f"plug-in `{name}` is of kind {source.header.kind}, not {kind}; {_use(source)}")
        return source

    def _in_folder(self) -> Iterator[Entry]:
        if self._folder is None:
            return
        for name in self._folder.names():
            try:
                source = self._folder.unpinned(name)
            except ChronosError as exc:
                yield Entry(name, "", "", "refused", self._folder.path_of(name), why=str(exc))
                continue
            header = source.header
            state = self._folder.state_of(source)
            yield Entry(name, header.kind.value, header.version, state, source.path, header.description)


def _use(source: Source) -> str:
    name = source.header.name
    how = {Kind.SCHEDULER: f"`rpr plugin {name}`", Kind.EXECUTOR: f"`--executor {name}`"}
    return f"use it as {how.get(source.header.kind, f'`--output {name}`')}."


def _installed() -> Installed:
    return {kind: entry_points(group=kind.group) for kind in Kind}


def _entry(point: EntryPoint, kind: Kind) -> Entry:
    return Entry(point.name, kind.value, point.dist.version if point.dist else "", "installed", _package(point))


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name}" if point.dist else point.value


def _source(kind: Kind, point: EntryPoint) -> Source:
    """Return what an entry point leads to; its file is found and read, and not imported."""
    where = f"{point.value} ({_package(point)})"
    try:
        spec = find_spec(point.module)
        data = Path(spec.origin or "").read_bytes() if spec else b""
        text = data.decode("utf-8")
    except (ImportError, OSError, ValueError) as exc:
        raise PluginInvalid(f"plug-in `{point.name}`: {where} cannot be read: {exc}.") from None
    if not text or len(data) > SOURCE_BYTES_MAX:
        raise PluginInvalid(f"plug-in `{point.name}`: {where} is no module of at most 1 MiB.")
    header = read_header(text, where)
    if (header.name, header.kind) != (point.name, kind):
        raise PluginInvalid(f"plug-in `{point.name}`: {where} calls itself {header.kind} `{header.name}`.")
    return Source(header, text, str(spec.origin if spec else ""), hashlib.sha256(data).hexdigest(), where, point.module)
