"""Seals of history, and the chain of the changes of what is owed: what outlasts the log."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.errors import VersionConflict
from chronos.store import proof
from chronos.store.commands import Seal
from chronos.store.fold.draft import Draft, accepted, rejected
from chronos.store.port import Result
from chronos.store.tables import SEALS, SealRecord


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


def next_change(draft: Draft) -> int:
    """Return the place of the next change of what is owed."""
    return draft.meta().changes + 1


def note_change(draft: Draft, line: bytes) -> None:
    """Add a change of what is owed to the chain."""
    meta = draft.meta()
    draft.put_meta(replace(meta, changes=meta.changes + 1, changes_hash=proof.link(meta.changes_hash, line)))
