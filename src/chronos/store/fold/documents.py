"""Features' documents: bytes to the fold."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.errors import NotFound, VersionConflict
from chronos.model.events import EventType
from chronos.store import proof
from chronos.store.commands import PutDocument
from chronos.store.fold.draft import Draft, accepted, rejected
from chronos.store.fold.sealing import next_change, note_change
from chronos.store.port import Result
from chronos.store.tables import DOCUMENTS, KEPT_DOCUMENTS, Document, KeptDocument, document_key


def put_document(draft: Draft, command: PutDocument) -> Result:
    """Write, replace or delete one document."""
    key = document_key(command.prefix, command.namespace, command.key)
    old = draft.get(DOCUMENTS, key)
    revision = old.revision if old else 0
    if command.expect_revision not in (-1, revision):
        return rejected(VersionConflict, f"The document is at version {revision}.", revision=revision)
    if command.value is None:
        if old is None:
            return rejected(NotFound)
        draft.delete(DOCUMENTS, key)
    else:
        new = Document(command.value, revision + 1, draft.at.time_us, command.by)
        draft.put(DOCUMENTS, key, new)
    if command.replans:
        _keep(draft, key, revision + 1, command)
        shard = draft.shard()
        draft.put_shard(replace(shard, plan_version=shard.plan_version + 1))
    draft.emit(EventType.DOCUMENT_CHANGED, namespace=command.namespace, key=key, by=command.by)
    return accepted(revision + 1, revision=revision + 1)


def _keep(draft: Draft, key: str, revision: int, command: PutDocument) -> None:
    """Keep what jobs owed by: whoever asks later why one did not run needs the document as it was."""
    # A document that was deleted and made anew counts from 1 again, so the place among the changes is the key.
    seq = next_change(draft)
    shard = draft.shard()
    kept = KeptDocument(
        key,
        command.value,
        revision,
        draft.at.time_us,
        command.by,
        seq,
        hwm_s=shard.hwm_s,
        catchup_from_s=shard.catchup_from_s,
        catchup_to_s=shard.catchup_to_s,
        cursor=shard.cursor,
    )
    draft.put(KEPT_DOCUMENTS, f"{key}/{seq:012d}", kept)
    note_change(draft, proof.document_line(kept))
