"""Seals of history, and the chain of the changes of what is owed: what outlasts the log."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.errors import Conflict, VersionConflict
from chronos.model.events import EventType
from chronos.store import proof
from chronos.store.commands import Drop, KeepHistory, Seal
from chronos.store.fold.draft import Draft, accepted, rejected
from chronos.store.port import Result
from chronos.store.tables import DROPS, KEEPING, SEALS, DropRecord, KeepingRules, SealRecord


def seal(draft: Draft, command: Seal) -> Result:
    """Add a seal to the chain. Segments are sealed in order, each once."""
    meta = draft.meta()
    if command.segment <= meta.sealed:
        return rejected(VersionConflict, f"History is sealed up to segment {meta.sealed}.", sealed=meta.sealed)
    kept = SealRecord(
        **{name: getattr(command, name) for name in command.__struct_fields__},
        changes=meta.changes,
        changes_hash=meta.changes_hash,
        previous=meta.seal_hash,
    )
    draft.put(SEALS, f"{kept.segment:012d}", kept)
    draft.put_meta(replace(meta, sealed=kept.segment, seal_hash=proof.leaf(proof.seal_line(kept))))
    return accepted(kept)


def drop(draft: Draft, command: Drop) -> Result:
    """Note what retention takes of a segment: its seal says what it was, this that nobody else took it."""
    meta, key = draft.meta(), f"{command.segment:012d}"
    if command.segment > meta.sealed:
        return rejected(Conflict, f"Segment {command.segment} is not sealed yet, and stays.", sealed=meta.sealed)
    earlier = draft.get(DROPS, key)
    if earlier is not None and (earlier.whole or (command.rows <= earlier.rows and not command.whole)):
        return accepted(earlier)
    kept = DropRecord(command.segment, command.rows, command.whole, command.why, draft.at.time_us)
    draft.put(DROPS, key, kept)
    draft.emit(EventType.HISTORY_DROPPED, by="chronos", key=str(command.segment), note=command.why)
    return accepted(kept)


def keep_history(draft: Draft, command: KeepHistory) -> Result:
    """Set how long the namespaces' history is kept."""
    draft.put(KEEPING, "namespaces", KeepingRules(command.namespaces))
    return accepted()


def next_change(draft: Draft) -> int:
    """Return the place of the next change of what is owed."""
    return draft.meta().changes + 1


def note_change(draft: Draft, line: bytes) -> None:
    """Add a change of what is owed to the chain."""
    meta = draft.meta()
    draft.put_meta(replace(meta, changes=meta.changes + 1, changes_hash=proof.link(meta.changes_hash, line)))
