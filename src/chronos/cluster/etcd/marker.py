"""Remembers outside of the engine's folder that there is a member: an empty folder is never taken for a new one.

A member whose folder was emptied and that is started anew joins as the one it was, without what it has acknowledged:
with another member behind, acknowledged writes are gone. Raft cannot see that; this file can.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from chronos.cluster.etcd.failures import EngineFailed
from chronos.cluster.etcd.flags import EngineSettings
from chronos.cluster.etcd.walhead import owner
from chronos.errors import ConfigInvalid

log = structlog.get_logger("chronos.engine")

NAME = "MEMBER"
FORMAT = 1


def replacing(node: str, data_dir: Path | str = "its data folder") -> str:
    """Return what to do with a member that cannot come back by itself: it is replaced by one with an empty disk."""
    return (
        f"The others go on without it. To replace it: `chronosctl cluster remove {node}` on a node that runs; move"
        f" {data_dir} away here; `chronosctl cluster add {node}` on a node that runs; then start {node} again."
    )


class Stage(StrEnum):
    """FOUNDING: the engine was to be started for the first time. MEMBER: it has data, and must have them ever after."""

    FOUNDING = "founding"
    MEMBER = "member"


class Marker(Struct, frozen=True, kw_only=True):
    """What is remembered.

    Attributes:
        node: The member's name.
        member_id: The engine's own number for it, in hexadecimal; empty until it has said so.
    """

    format: int = FORMAT
    cluster_uuid: str
    node: str
    stage: Stage
    member_id: str = ""


def path_of(data_dir: Path) -> Path:
    """Return where a data folder has its marker."""
    return data_dir / NAME


def read(data_dir: Path) -> Marker | None:
    """Return the marker of a data folder; None when there is none.

    Raises:
        EngineFailed: It cannot be read, so nobody knows whether an empty folder is a new one.
    """
    path = path_of(data_dir)
    try:
        marker = msgspec.json.decode(path.read_bytes(), type=Marker)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as exc:
        raise EngineFailed(
            f"{path} cannot be read ({exc}). Without it nobody knows whether this node is a member already."
            f" Bring it back from a backup. {replacing('this node', data_dir)}"
        ) from exc
    if marker.format != FORMAT:
        raise EngineFailed(f"{path} was written by a newer Chronos (format {marker.format}); start that one.")
    return marker


def write(data_dir: Path, marker: Marker) -> None:
    """Put the marker of a data folder in its place, durably."""
    path = path_of(data_dir)
    new = path.with_suffix(".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(marker) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(data_dir, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def has_data(settings: EngineSettings) -> bool:
    """Whether the engine has its log and its database. One without the other it would make up for, and forget."""
    member = settings.engine_dir / "member"
    return (member / "snap" / "db").is_file() and any((member / "wal").glob("*.wal"))


def admit(settings: EngineSettings) -> Marker:
    """Return the marker under which the engine may be started; it is on the disk.

    A member that joins counts as one at once: should it be started again without data, the others would already count
    on what it has acknowledged. One of those that begin together may begin again, as long as it never had any: the
    engine asks the others itself.

    Raises:
        EngineFailed: There was data, and it is gone or another member's.
        ConfigInvalid: The data folder is another member's.
    """
    found, is_there = read(settings.data_dir), has_data(settings)
    if found is not None:
        _check_identity(settings, found)
    if found is not None and found.stage is Stage.MEMBER and not is_there:
        raise EngineFailed(wiped(settings.node, settings.data_dir))
    if found is None and is_there:
        log.warning("engine_marker_missing", folder=str(settings.engine_dir), written=str(path_of(settings.data_dir)))
    marker = Marker(
        cluster_uuid=settings.cluster_uuid,
        node=settings.node,
        stage=Stage.MEMBER if is_there or settings.is_joining else Stage.FOUNDING,
        member_id=_member_id(settings, found.member_id if found is not None else ""),
    )
    if marker != found:
        write(settings.data_dir, marker)
    return marker


def _member_id(settings: EngineSettings, noted: str) -> str:
    """Return the engine's own number for this member.

    Raises:
        EngineFailed: The data is that of another one: two engines would speak with one voice.
    """
    own = owner(settings.engine_dir / "member" / "wal")
    if own is None:
        return noted
    if noted not in ("", own.member_id):
        raise EngineFailed(
            f"The engine's data ({settings.engine_dir}) is that of the member {own.member_id}, and this one is {noted}."
            " It was copied from another node; put this node's own data back."
            f" {replacing(settings.node, settings.data_dir)}"
        )
    return own.member_id


def wiped(node: str, data_dir: Path) -> str:
    """Return what to tell whoever starts a member whose data is gone."""
    return (
        f"{node} is a member of the cluster, but the data of its engine (in {data_dir}) is gone or older than what it"
        " has acknowledged. Started like this it would forget writes that the others count on, so it is not started."
        f" Put the folder of {node} back if it was moved or not mounted. {replacing(node, data_dir)}"
    )


def _check_identity(settings: EngineSettings, marker: Marker) -> None:
    if marker.cluster_uuid != settings.cluster_uuid:
        raise ConfigInvalid(
            f"`cluster.uuid`: the data folder {settings.data_dir} belongs to the cluster {marker.cluster_uuid}, not to"
            f" {settings.cluster_uuid}. Use that cluster's configuration, or another data folder.",
            field="cluster.uuid",
        )
    if marker.node != settings.node:
        raise ConfigInvalid(
            f"`cluster.node_id`: the data folder {settings.data_dir} belongs to the member {marker.node}, not to"
            f" {settings.node}.",
            field="cluster.node_id",
        )
