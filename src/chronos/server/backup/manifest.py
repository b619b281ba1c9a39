"""What a backup says of itself, and how files become frames and frames files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
from msgspec import Struct, field

from chronos.cluster.logfile import Fork
from chronos.model.backupfile import BODY_BYTES_MAX, BackupDamaged, Frame, Kind

STATE, LOG, HISTORY = "state.db", "log.entries", "history"
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,3}$")
_DIGEST_BYTES = 32


class Contained(Struct, frozen=True):
    """One file of a backup: where it belongs, its size, and the hex BLAKE2b-256 of its bytes."""

    name: str
    bytes: int
    hash: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What a backup says of itself. A later version may say more; what it does not know, a reader passes over.

    Attributes:
        version: The Chronos that made it.
        taken_us: When, by the wall clock; instants are microseconds since the epoch.
        first: The first entry of the log in it, `last` the last.
        base_hash: Hash of the entry before the first; `last_hash` of the last one (hex).
        first_us: Log time of the first entry, `log_us` of the last.
        state_entry: The last entry that its state and its history have; from there on the log can be folded.
        state_us: Log time of that entry.
        restore_epoch: First number of the fencing tokens that were given out by then.
        keys: Whether the keys are in it, without which no sealed credential is opened again.
        key_mark: Tells the keys of one data folder from those of another; empty when it has none.
        forks: Where the log was cut off before.
        taken_on: The node that it was taken on; `node` is the one that led.
    """

    version: str
    node: str
    taken_us: int
    first: int
    last: int
    base_hash: str
    last_hash: str
    first_us: int
    log_us: int
    state_entry: int
    state_us: int
    restore_epoch: int
    jobs: int
    keys: bool = False
    key_mark: str = ""
    forks: list[Fork] = field(default_factory=list)
    files: list[Contained] = field(default_factory=list)
    taken_on: str = ""


class Member(NamedTuple):
    """A file to put into a backup, and the name it has there."""

    name: str
    path: Path


def pack(members: Iterable[Member], manifest: Manifest) -> Iterator[Frame]:
    """Yield the frames of files, and of the manifest, which lists them."""
    contained: list[Contained] = []
    for member in members:
        yield from _file(member, contained)
    yield Frame(Kind.END, msgspec.json.encode(msgspec.structs.replace(manifest, files=contained)))


def with_keys(frames: Iterable[Frame], keys: Iterable[Member]) -> Iterator[Frame]:
    """Yield the frames of a backup with those of its keys among them."""
    for frame in frames:
        if frame.kind != Kind.END:
            yield frame
            continue
        contained: list[Contained] = []
        for member in keys:
            yield from _file(member, contained)
        manifest = manifest_in(frame)
        told = msgspec.structs.replace(manifest, keys=True, files=[*manifest.files, *contained])
        yield Frame(Kind.END, msgspec.json.encode(told))


def _file(member: Member, contained: list[Contained]) -> Iterator[Frame]:
    digest, size = hashlib.blake2b(digest_size=_DIGEST_BYTES), 0
    yield Frame(Kind.FILE, member.name.encode())
    handle = os.open(member.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        while piece := file.read(BODY_BYTES_MAX):
            digest.update(piece)
            size += len(piece)
            yield Frame(Kind.DATA, piece)
    contained.append(Contained(member.name, size, digest.hexdigest()))


def manifest_in(frame: Frame) -> Manifest:
    """Return the manifest that the last frame holds.

    Raises:
        BackupDamaged: It holds none.
    """
    try:
        return msgspec.json.decode(frame.body, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise BackupDamaged from exc


def checked(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield frames, and see to it that they are the files that the manifest lists, byte by byte.

    Raises:
        BackupDamaged: They are not, or a name in it leads elsewhere.
    """
    found: list[Contained] = []
    name, size, digest = "", 0, hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for frame in frames:
        if frame.kind == Kind.DATA and name:
            size += len(frame.body)
            digest.update(frame.body)
        elif frame.kind in (Kind.FILE, Kind.END):
            if name:
                found.append(Contained(name, size, digest.hexdigest()))
            name, size, digest = "", 0, hashlib.blake2b(digest_size=_DIGEST_BYTES)
            if frame.kind == Kind.FILE:
                name = _safe(frame.body)
            elif manifest_in(frame).files != found or len({one.name for one in found}) != len(found):
                raise BackupDamaged
        else:
            raise BackupDamaged
        yield frame


def _safe(raw: bytes) -> str:
    name = raw.decode("ascii", errors="replace")
    if not _NAME.match(name) or name.endswith("\n"):
        raise BackupDamaged(f"The backup names a file {name[:100]!r}, which would lead elsewhere.")
    return name


def unpack(frames: Iterable[Frame], into: Path, *, wanted: Callable[[str], bool] = lambda _: True) -> Manifest:
    """Write the files of a backup below `into`, readable by nobody else, and return its manifest.

    Args:
        wanted: Which files to write, by name.

    Raises:
        BackupDamaged: What has been written so far is worth nothing.
    """
    file: BinaryIO | None = None
    manifest: Manifest | None = None
    try:
        for frame in checked(frames):
            if frame.kind == Kind.DATA:
                if file is not None:
                    file.write(frame.body)
                continue
            if file is not None:
                file.close()
                file = None
            if frame.kind == Kind.END:
                manifest = manifest_in(frame)
            elif wanted(frame.body.decode()):
                file = _begin(into / frame.body.decode())
    finally:
        if file is not None:
            file.close()
    if manifest is None:
        raise BackupDamaged
    return manifest


def _begin(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return os.fdopen(handle, "wb")
