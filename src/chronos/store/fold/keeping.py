"""What is kept beside the jobs and for how long: dead letters, revisions of deleted jobs, late results."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.model.events import EventType
from chronos.model.execution import Execution
from chronos.model.job import Job
from chronos.store import proof
from chronos.store.commands import ExpireDead
from chronos.store.fold import rings
from chronos.store.fold.draft import Draft, accepted
from chronos.store.fold.rings import DELETED_PLACES, FORGOTTEN_PLACES, LATE_PLACES, ring_key
from chronos.store.fold.sealing import next_change, note_change
from chronos.store.port import Result
from chronos.store.tables import DEAD, DEAD_RING, LATE, REVISIONS, LateResults, RingItem, revision_key

DEAD_LETTERS_MAX = 10_000
LATE_MAX = 10_000
NOTES_MAX = 20
FORGOTTEN_MAX = 1_000_000


def expire_dead(draft: Draft, command: ExpireDead) -> Result:
    """Drop what has been kept long enough; the value is the ids of the dead letters among it."""
    dropped = []
    for _ in range(command.most):
        meta = draft.meta()
        if meta.dead_head >= meta.dead_tail:
            break
        item = draft.get(DEAD_RING, ring_key(meta.dead_head))
        if item is not None and item.time_us >= command.before_us:
            break
        key = drop_oldest_dead(draft, "it was kept for as long as dead letters are")
        if key is not None:
            dropped.append(key)
    _forget_revisions(draft, command)
    _forget_late_results(draft, command)
    return accepted(dropped)


# Dead letters.


def keep_dead_letter(draft: Draft, execution: Execution) -> None:
    """Keep a failed execution where a redrive finds it; the oldest gives way when there are too many."""
    while _is_full(draft):
        drop_oldest_dead(draft, "there are too many dead letters")
    meta = draft.meta()
    draft.put(DEAD, execution.id, execution)
    draft.put(DEAD_RING, ring_key(meta.dead_tail), RingItem(execution.id, draft.at.time_us))
    draft.put_meta(replace(meta, dead_tail=meta.dead_tail + 1, dead=meta.dead + 1))


def _is_full(draft: Draft) -> bool:
    # Places of letters that were redriven are free, but not given back before the head has come to them.
    meta = draft.meta()
    return meta.dead >= DEAD_LETTERS_MAX or meta.dead_tail - meta.dead_head >= 2 * DEAD_LETTERS_MAX


def drop_oldest_dead(draft: Draft, why: str) -> str | None:
    """Forget the oldest dead letter, and say so; return its id, or None when it had been redriven already."""
    meta = draft.meta()
    item = draft.get(DEAD_RING, ring_key(meta.dead_head))
    draft.delete(DEAD_RING, ring_key(meta.dead_head))
    dead = draft.get(DEAD, item.key) if item else None
    # A redriven execution that died again stands in the ring twice; only its newest place counts.
    here = item is not None and dead is not None and dead.ended_at_us == item.time_us
    draft.put_meta(replace(meta, dead_head=meta.dead_head + 1, dead=meta.dead - (1 if here else 0)))
    if dead is None or not here:
        return None
    draft.delete(DEAD, dead.id)
    draft.emit(
        EventType.DEAD_LETTER_DROPPED,
        namespace=dead.namespace,
        job_id=dead.job_id,
        by="chronos",
        execution=dead,
        key=dead.id,
        note=why,
    )
    return dead.id


# Revisions of deleted jobs.


def note_deleted(draft: Draft, job: Job) -> None:
    """Remember since when nobody but history needs the revisions of `job`."""
    item = rings.append(draft, DELETED_PLACES, revision_key(job.id, job.revision), seq=next_change(draft))
    note_change(draft, proof.deletion_line(job.id, item))


def _forget_revisions(draft: Draft, command: ExpireDead) -> None:
    left = command.most
    while left > 0 and (item := rings.oldest(draft, DELETED_PLACES)) is not None:
        if item.time_us >= command.forgotten_us:
            return
        job_id, _, text = item.key.rpartition("/")
        newest = int(text)
        remains = max(0, newest - left)
        for number in range(newest, remains, -1):
            _forget_revision(draft, revision_key(job_id, number))
        left -= newest - remains
        if remains:
            rings.put_oldest(draft, DELETED_PLACES, RingItem(revision_key(job_id, remains), item.time_us, item.seq))
        else:
            _keep_leaf(draft, item.seq, proof.deletion_line(job_id, item))
            rings.drop_oldest(draft, DELETED_PLACES)


def _forget_revision(draft: Draft, key: str) -> None:
    """Forget a revision; its hash stays, without which the chain could not be followed past it."""
    revision = draft.get(REVISIONS, key)
    if revision is not None:
        _keep_leaf(draft, revision.seq, proof.revision_line(revision))
        draft.delete(REVISIONS, key)


def _keep_leaf(draft: Draft, seq: int, line: bytes) -> None:
    if seq == 0:  # from before changes were counted
        return
    rings.append(draft, FORGOTTEN_PLACES, proof.leaf(line).hex(), seq=seq)
    if rings.length(draft, FORGOTTEN_PLACES) > FORGOTTEN_MAX:
        rings.drop_oldest(draft, FORGOTTEN_PLACES)


# Late results.


def note_late(draft: Draft, execution_id: str, note: str) -> None:
    """Keep a note beside the record of an execution that has ended; the oldest execution's give way."""
    kept = draft.get(LATE, execution_id)
    if kept is None:
        if rings.length(draft, LATE_PLACES) >= LATE_MAX:
            _forget_oldest_late(draft)
        rings.append(draft, LATE_PLACES, execution_id)
    notes = [*(kept.notes if kept else []), note][-NOTES_MAX:]
    draft.put(LATE, execution_id, LateResults(notes))


def _forget_late_results(draft: Draft, command: ExpireDead) -> None:
    for _ in range(command.most):
        item = rings.oldest(draft, LATE_PLACES)
        if item is None or item.time_us >= command.forgotten_us:
            return
        _forget_oldest_late(draft)


def _forget_oldest_late(draft: Draft) -> None:
    item = rings.oldest(draft, LATE_PLACES)
    if item is not None:
        draft.delete(LATE, item.key)
    rings.drop_oldest(draft, LATE_PLACES)
