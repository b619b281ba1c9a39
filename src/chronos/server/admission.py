"""How a data folder comes to its cluster, and stays with it.

A folder of a node that stood alone becomes the state from which a cluster of one begins, once, in one start:

    all of its log is folded ─▶ CLUSTER says up to where ─▶ the engine's log begins behind that ─▶ the old log is aside

Cut off anywhere, the next start goes on with it. From the second step on the folder is the cluster's, and no server
takes it alone any more: what it wrote then would be nowhere in the cluster's log.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from chronos.cluster.etcd import marker
from chronos.cluster.etcd.binary import find, identify
from chronos.cluster.local import LocalLog
from chronos.cluster.port import ReplicatedLog
from chronos.errors import ConfigInvalid, Invalid, LogFailed, StateDamaged
from chronos.failpoints import reach
from chronos.server.clustered import Clustered
from chronos.store.commandlog import CommandLog
from chronos.store.sqlite import SqliteState
from chronos.store.sqlitefile import translated
from chronos.store.tables import META, Meta
from chronos.timing.clock import Chance, Clock, ulid
from chronos.timing.trusted import TrustedClock

log = structlog.get_logger("chronos.cluster")

NAME = "CLUSTER"
FORMAT = 1
ASIDE = "before-cluster.db"
"""What a lone node's log is called afterwards. Nothing needs it any more."""

_LOG = "log.db"
_ALONE = "auto"
_BY = "growth"


class Stage(StrEnum):
    """FOUNDING: the cluster's log begins behind this folder's state, or is about to. MEMBER: it belongs to it."""

    FOUNDING = "founding"
    MEMBER = "member"


class Belonging(Struct, frozen=True, kw_only=True):
    """Which cluster a data folder belongs to.

    Attributes:
        base: The last entry of a node that stood alone, behind which the cluster's log began; 0 for other members.
    """

    format: int = FORMAT
    cluster_uuid: str
    node: str
    stage: Stage
    base: int = 0


async def _nothing(_: ReplicatedLog) -> None:
    """Nothing is left to be done."""


class Admission(Struct, frozen=True):
    """How a node comes to its cluster with this start.

    Attributes:
        base: What the cluster's log begins behind if there is none yet.
        entered: To be called with the log before anything is read from it or written to it.
    """

    base: int = 0
    entered: Callable[[ReplicatedLog], Awaitable[None]] = _nothing


async def admit(place: Clustered, data: Path, environ: Mapping[str, str], clock: Clock, chance: Chance) -> Admission:
    """Let a node take part in its cluster with the data folder `data`, which is locked.

    Raises:
        ConfigInvalid: The folder is another cluster's, or cannot become this one's, or there is no engine that can be
            used; nothing was changed.
        LogDamaged: What the node wrote alone does not verify.
    """
    belonging = read(data)
    if belonging is None:
        if _stood_alone(data):
            _check_may_found(place, data)
            _check_alone(place, data)
            if place.engine == _ALONE:
                await identify(find(place.engine_binary, environ))
            base = await _fold_all(place, data, clock, chance)
            reach("growth.folded")
            belonging = Belonging(cluster_uuid=place.uuid, node=place.node, stage=Stage.FOUNDING, base=base)
        else:
            belonging = Belonging(cluster_uuid=place.uuid, node=place.node, stage=Stage.MEMBER)
        write(data, belonging)
        if belonging.stage is Stage.FOUNDING:
            log.info("becoming_a_cluster", cluster=place.uuid, base=belonging.base)
            reach("growth.begun")
    _check_cluster(place, data, belonging)
    if belonging.stage is Stage.MEMBER:
        return Admission()
    _check_alone(place, data)
    founding = belonging

    async def entered(shared: ReplicatedLog) -> None:
        await _settle(shared, data, founding)

    return Admission(founding.base, entered)


def refuse_alone(data: Path) -> None:
    """See to it that a server that stands alone may use this data folder.

    Raises:
        ConfigInvalid: It is a member's; alone, it would write what its cluster never hears of.
    """
    belonging, member = read(data), marker.path_of(data).exists()
    if belonging is not None and belonging.stage is Stage.FOUNDING and not member and not _has_engine(data):
        path_of(data).unlink()  # nothing was founded, so nothing can have been written
        log.info("not_becoming_a_cluster", folder=str(data))
        return
    if belonging is None and not member:
        return
    whose = f" {belonging.cluster_uuid}" if belonging is not None else ""
    raise ConfigInvalid(
        f"The data folder {data} belongs to a member of the cluster{whose}; a node cannot go back to standing alone. "
        "Start it with its cluster's configuration (`--config NODE/chronos.yaml`), or bring a backup of the cluster "
        "into another folder with `chronos restore`.",
        field="cluster.members",
    )


def is_member(data: Path) -> bool:
    """Whether a data folder is that of a member of a cluster."""
    return marker.path_of(data).exists() or ((found := read(data)) is not None and found.stage is Stage.MEMBER)


def refuse_member(data: Path, instead: str) -> None:
    """See to it that a data folder that is looked at without its server has all that it is looked at for.

    Args:
        instead: A sentence that says what to do.

    Raises:
        Invalid: It is a member's.
    """
    if is_member(data):
        raise Invalid(f"{data} is the data folder of a member of a cluster, whose log lies in the engine. {instead}")


def path_of(data: Path) -> Path:
    """Return where a data folder says which cluster it belongs to."""
    return data / NAME


def read(data: Path) -> Belonging | None:
    """Return which cluster a data folder belongs to; None when it does not say.

    Raises:
        StateDamaged: What it says cannot be read.
    """
    path = path_of(data)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Belonging)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as exc:
        raise StateDamaged(f"{path} cannot be read ({exc}); it says which cluster this folder belongs to.") from exc
    if found.format > FORMAT:
        raise StateDamaged(f"{path} was written by a newer release (format {found.format}); start that one.")
    return found


def write(data: Path, belonging: Belonging) -> None:
    """Say which cluster a data folder belongs to, durably."""
    path = path_of(data)
    new = path.with_name(f"{NAME}.new")
    with translated(path):
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(belonging) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        _sync(data)


def _stood_alone(data: Path) -> bool:
    return (data / "log" / _LOG).is_file()


def _has_engine(data: Path) -> bool:
    return (data / "engine").exists()


def _check_may_found(place: Clustered, data: Path) -> None:
    if marker.path_of(data).exists():
        raise ConfigInvalid(
            f"The data folder {data} has both a log of its own and a member of a cluster; a server was started alone "
            "on it. Move its `log` folder aside, with which nothing of the cluster is lost.",
            field="cluster.data_dir",
        )


def _check_alone(place: Clustered, data: Path) -> None:
    if len(place.members) > 1:
        raise ConfigInvalid(
            f"`cluster.members`: the data folder {data} is that of a node that stood alone. It becomes a cluster of "
            "one first (`chronos cluster init` with one --node), which others join afterwards; or give this node an "
            "empty folder.",
            field="cluster.members",
        )


def _check_cluster(place: Clustered, data: Path, belonging: Belonging) -> None:
    if belonging.cluster_uuid != place.uuid:
        raise ConfigInvalid(
            f"`cluster.uuid`: the data folder {data} belongs to the cluster {belonging.cluster_uuid}, not to "
            f"{place.uuid}. Use that cluster's configuration, or another data folder.",
            field="cluster.uuid",
        )


async def _fold_all(place: Clustered, data: Path, clock: Clock, chance: Chance) -> int:
    """Fold all that a lone node has written, as its next start would; return the last entry, with all of it on disk.

    What it had under way is unknown from then on, as after a crash.
    """
    trusted = TrustedClock(clock)
    state = SqliteState(data)
    async with LocalLog(data / "log") as own:
        try:
            await state.start()
            node = (state.get(META, "meta") or Meta()).leader or place.node
            commands = CommandLog(own, state, trusted, chance)
            try:
                await commands.start(node, f"{node}#{_BY}-{ulid(clock, chance)}", on_recovered=trusted.start_after)
            finally:
                await commands.stop()
            durable = await state.checkpoint()
            _, last = await own.bounds()
        finally:
            await state.stop()
    if durable < last:
        raise LogFailed(f"State is on disk up to entry {durable}, and the log ends at {last}; nothing was changed.")
    return last


async def _settle(shared: ReplicatedLog, data: Path, founding: Belonging) -> None:
    """Having entered the cluster's log: see that it begins where this node's ends, and put that one aside."""
    first, last = await shared.bounds()
    if (first, last) != (founding.base + 1, founding.base):
        raise ConfigInvalid(
            f"`cluster.uuid`: the cluster {founding.cluster_uuid} has a log already (entries {first} to {last}), and "
            f"this data folder is that of a node that stood alone up to entry {founding.base}. Found a cluster for "
            "it, or give this node an empty folder.",
            field="cluster.uuid",
        )
    reach("growth.founded")
    with translated(data):
        _put_aside(data / "log")
    reach("growth.midway")
    write(data, replace(founding, stage=Stage.MEMBER))
    log.info("became_a_cluster", cluster=founding.cluster_uuid, base=founding.base)


def _put_aside(folder: Path) -> None:
    for tail in ("-wal", "", "-shm"):
        path = folder / f"{_LOG}{tail}"
        if path.exists():
            path.rename(folder / f"{ASIDE}{tail}")
    _sync(folder)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
