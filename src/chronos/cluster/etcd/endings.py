"""Why the engine ended, and whether starting it again can help. Pure: from its last words to what is to be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from chronos.cluster.etcd.enginelog import Line
from chronos.cluster.etcd.flags import EngineSettings
from chronos.cluster.etcd.marker import replacing, wiped

_TEXT_MAX = 1_000


class Ending(Struct, frozen=True):
    """How a run of the engine ended.

    Attributes:
        reason: What is wrong, in a sentence or two; with instructions if it is final.
        is_final: Starting it again would end the same way, or do harm.
    """

    reason: str
    is_final: bool = False


def ending(code: int, grave: Sequence[Line], settings: EngineSettings) -> Ending:
    """Return why the engine ended.

    Args:
        code: Its exit code; a signal as a negative number.
        grave: What it said last that matters, oldest first.
    """
    if code >= 0 and _REMOVED in _text(grave):
        return Ending(_removed(settings), is_final=True)
    said = _text([line for line in grave if line.level in _DECISIVE])
    for sign, what in _PASSING:
        if sign in said:
            return Ending(what)
    for signs, explain in _FINAL:
        if code >= 0 and any(sign in said for sign in signs):
            return Ending(explain(settings), is_final=True)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    last = _last(grave)
    return Ending(f"The engine ended ({how}). Its last words: {last}" if last else f"The engine ended ({how}).")


def _last(grave: Sequence[Line]) -> str:
    plain = [line for line in grave if line.level == "plain"]
    worst = [line for line in grave if line.level in _DECISIVE[:3]] or plain[:2]
    return "; ".join(str(line) for line in (worst or list(grave))[-3:])[:_TEXT_MAX]


def _text(lines: Sequence[Line]) -> str:
    return "\n".join(str(line) for line in lines)


def _bootstrapped(settings: EngineSettings) -> str:
    return (
        f"The others know {settings.node} as a member already, and here it has no data."
        f" {wiped(settings.node, settings.data_dir)}"
    )


def _removed(settings: EngineSettings) -> str:
    return (
        f"{settings.node} was removed from the cluster, and the others go on without it. To have it back: move"
        f" {settings.data_dir} away here; `chronosctl cluster add {settings.node}` on a node that runs; then start it"
        " again."
    )


def _other_cluster(settings: EngineSettings) -> str:
    return (
        f"The members that {settings.node} meets are of another cluster than {settings.cluster_uuid}. Compare"
        " `cluster.uuid` and the addresses in `cluster.members` on all nodes."
    )


def _corrupt(settings: EngineSettings) -> str:
    return (
        f"The data of this node's engine ({settings.engine_dir}) is damaged, or differs from the others'."
        f" {replacing(settings.node, settings.data_dir)}"
    )


def _unequal(settings: EngineSettings) -> str:
    return (
        "`cluster.members` here and the cluster's own list of members differ. Name those for"
        f" {settings.node} that the other nodes name, with the same addresses, or add it on a node that runs:"
        f" `chronosctl cluster add {settings.node}=HOST`."
    )


def _flags(settings: EngineSettings) -> str:
    return "This etcd refuses the flags it is started with; use one of 3.5.26 or newer, best the newest 3.6."


def _lost(settings: EngineSettings) -> str:
    return wiped(settings.node, settings.data_dir)


Explain = Callable[[EngineSettings], str]

_DECISIVE = ("fatal", "panic", "dpanic", "plain")
"""What was said on the way down; a warning may be hours old, and about another member."""
_REMOVED = "data-dir used by this member must be removed"

_PASSING = (
    ("no space left on device", "The disk of the engine is full. Free some space; it is started again by itself."),
    ("address already in use", "The engine's port is in use by another process; it is tried again."),
    ("too many open files", "The engine may not open enough files (`ulimit -n`); it is tried again."),
    ("input/output error", "The disk of the engine fails (input/output error). Look after it, or replace the node."),
    ("permission denied", "The engine may not read or write its files; give the data folder to the user it runs as."),
    ("no such file or directory", "A file of the engine is missing, most likely a certificate of `cluster.tls`."),
)

_FINAL: tuple[tuple[tuple[str, ...], Explain], ...] = (
    (("already been bootstrapped",), _bootstrapped),
    (("mismatched cluster ID", "cluster ID mismatch", "unmatched cluster ID"), _other_cluster),
    (("is out of range [lastIndex",), _lost),
    (("failed to open database", "invalid database", "wal: ", "crc mismatch", "file checksum mismatch",
      "failed to find database snapshot file", "data inconsistency", "checkInitialHashKV failed",
      "corrupt cluster"), _corrupt),
    (("error validating peerURLs", "member count is unequal", "couldn't find local name"), _unequal),
    (("flag provided but not defined",), _flags),
)  # fmt: skip
