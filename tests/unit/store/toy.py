"""A fold small enough to be seen through, for tests of everything around the fold."""

from __future__ import annotations

from chronos.model.events import Event, EventType
from chronos.store.commands import Command, NewLeader, PutDocument
from chronos.store.port import At, Changes, Result, View
from chronos.store.tables import DOCUMENTS, META, Document, Meta, document_key


def toy_fold(view: View, command: Command, at: At) -> Changes:
    """Count terms, and write documents whose revision is one more than before."""
    if isinstance(command, NewLeader):
        meta = view.get(META, "meta") or Meta()
        raised = Meta(term=meta.term + 1, leader=command.node)
        event = Event(type=EventType.LEADER_CHANGED, index=at.index, seq=0, time_us=at.time_us, by=command.node)
        return Changes(Result(value=raised.term), {(META.name, "meta"): raised}, events=[event])
    assert isinstance(command, PutDocument)
    key = document_key(command.prefix, command.namespace, command.key)
    before = view.get(DOCUMENTS, key)
    revision = before.revision if before else 0
    if command.expect_revision not in (-1, revision):
        return Changes(Result(error="version-conflict", message="moved on", facts={"revision": revision}))
    value = None if command.value is None else Document(command.value, revision + 1, at.time_us)
    event = Event(type=EventType.DOCUMENT_CHANGED, index=at.index, seq=0, time_us=at.time_us, key=key)
    return Changes(Result(value=value), {(DOCUMENTS.name, key): value}, events=[event])


def put(key: str, value: bytes | None = b"", expect_revision: int = -1) -> PutDocument:
    """Return the command that writes document `key`."""
    return PutDocument("toy", "default", key, value, expect_revision=expect_revision)
