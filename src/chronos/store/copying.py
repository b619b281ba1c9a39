"""Copies of state and history, made while nothing writes them: between two turns of the thread that does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

import msgspec
from msgspec import Struct

from chronos.errors import StateDamaged
from chronos.store.history import segment_path
from chronos.store.sqlitefile import open_writer, translated
from chronos.store.statefile import StateReader, StateWriter
from chronos.store.tables import META, SHARDS, Meta, Shard

STATE, HISTORY = "state.db", "history"
_PASSING = ("-wal", "-shm", ".new")


class StateFacts(Struct, frozen=True):
    """What a state says of itself.

    Attributes:
        applied: The last entry it has folded.
        time_us: Log time of that entry.
    """

    applied: int
    time_us: int
    meta: Meta
    shard: Shard


def copy_files(folder: Path, into: Path, closed: Collection[int]) -> None:
    """Copy state and history from `folder`; nothing may write them meanwhile.

    Args:
        closed: The segments that nothing is recorded in any more: these are linked, which costs nothing. They must not
            be thinned out for as long as the links are read.
    """
    links = {segment_path(folder / HISTORY, number) for number in closed}
    (into / HISTORY).mkdir(mode=0o700)
    _copy(folder / STATE, into / STATE)
    for path in sorted((folder / HISTORY).iterdir()):
        if not path.is_file() or path.name.endswith(_PASSING):
            continue
        if path not in links or _tail(path) or not _linked(path, into / HISTORY / path.name):
            _copy(path, into / HISTORY / path.name)


def _tail(path: Path) -> Path | None:
    """Return the write-ahead log that belongs to a file, if there is something in it."""
    tail = path.with_name(path.name + "-wal")
    return tail if tail.exists() and tail.stat().st_size else None


def _linked(path: Path, into: Path) -> bool:
    try:
        os.link(path, into)
    except OSError:  # not every file system has links
        return False
    return True


def _copy(path: Path, into: Path) -> None:
    shutil.copyfile(path, into)
    if tail := _tail(path):
        shutil.copyfile(tail, into.with_name(into.name + "-wal"))


def fold_in(folder: Path) -> None:
    """Make one file of every copy and its write-ahead log.

    Raises:
        StateDamaged: A copy is not what was written.
    """
    for tail in [*folder.glob("*.db-wal"), *(folder / HISTORY).glob("*.db-wal")]:
        path = tail.with_name(tail.name.removesuffix("-wal"))
        with translated(path):
            open_writer(path, durable=False).close()
        _tidy(path)


def _tidy(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def facts_of(folder: Path) -> StateFacts:
    """Return what the state in `folder` says of itself.

    Raises:
        StateDamaged: The file is not what was written.
    """
    path = folder / STATE
    with translated(path):
        writer = StateWriter(path)
        applied, time_us = writer.applied, writer.time_us
        writer.verify()
        writer.close()
        reader = StateReader(path)
        try:
            meta, shard = reader.get(META.name, "meta"), reader.get(SHARDS.name, "0")
        finally:
            reader.close()
    _tidy(path)
    try:
        return StateFacts(
            applied,
            time_us,
            msgspec.msgpack.decode(meta, type=Meta) if meta else Meta(),
            msgspec.msgpack.decode(shard, type=Shard) if shard else Shard(),
        )
    except msgspec.MsgspecError as exc:
        raise StateDamaged(f"{path} cannot be read: {exc}.") from exc
