"""What is owed: decided ahead of time, and made up for after an outage."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from msgspec.structs import replace

from chronos.errors import PlanMoved
from chronos.model.events import EventType
from chronos.model.execution import Execution, RangeRecord
from chronos.store import proof
from chronos.store.commands import BeginCatchup, Catchup, ClockNote, Decide, NewLeader, NoteClock, Owed, ResetClock
from chronos.store.fold.draft import Draft, accepted, rejected
from chronos.store.fold.executions import add_range, open_owed, owed_ids
from chronos.store.fold.sealing import next_change, note_change
from chronos.store.fold.starting import open_started, token_of
from chronos.store.port import Result
from chronos.store.steps import STEP, Step
from chronos.store.tables import JOBS, MEMBERS, RESETS, Reset

_INSTANT = itemgetter(0)


def new_leader(draft: Draft, command: NewLeader) -> Result:
    """Begin a term."""
    meta = draft.meta()
    draft.put_meta(replace(meta, term=meta.term + 1, leader=command.node, incarnation=command.incarnation))
    draft.emit(EventType.LEADER_CHANGED, by=command.incarnation)
    return accepted(term=meta.term + 1)


def decide(draft: Draft, command: Decide) -> Step[Result]:
    """Open what is owed in (from, to], record what is skipped, move the mark; the value is what was granted at once."""
    shard = draft.shard(command.shard)
    if (command.from_s, command.plan_version) != (shard.hwm_s, shard.plan_version):
        return rejected(PlanMoved, hwm_s=shard.hwm_s, plan_version=shard.plan_version)
    if command.to_s < command.from_s:
        return rejected(PlanMoved, "The high-water mark never moves back.", hwm_s=shard.hwm_s)
    draft.put_shard(replace(shard, hwm_s=command.to_s), command.shard)
    opened, granted = yield from _owe(draft, command.occurrences, command.ranges, command.node, command.nodes)
    return accepted(granted, opened=opened)


def begin_catchup(draft: Draft, command: BeginCatchup) -> Result:
    """Let live planning go on from `to_s` while (from_s, to_s] is made up for job by job."""
    shard = draft.shard(command.shard)
    if command.from_s != shard.hwm_s or command.to_s < shard.hwm_s or shard.catchup_to_s:
        return rejected(PlanMoved, hwm_s=shard.hwm_s)
    if command.plan_version not in (-1, shard.plan_version):
        return rejected(PlanMoved, hwm_s=shard.hwm_s, plan_version=shard.plan_version)
    caught = replace(shard, hwm_s=command.to_s, catchup_from_s=command.from_s, catchup_to_s=command.to_s, cursor="")
    draft.put_shard(caught, command.shard)
    return accepted()


def catchup(draft: Draft, command: Catchup) -> Step[Result]:
    """Decide what the next jobs owe behind the mark; the value is what was granted at once."""
    shard = draft.shard(command.shard)
    if not shard.catchup_to_s or command.cursor != shard.cursor or command.plan_version != shard.plan_version:
        return rejected(PlanMoved, hwm_s=shard.hwm_s, plan_version=shard.plan_version)
    if command.cursor_to:
        draft.put_shard(replace(shard, cursor=command.cursor_to), command.shard)
    else:
        draft.put_shard(replace(shard, catchup_from_s=0, catchup_to_s=0, cursor=""), command.shard)
    opened, granted = yield from _owe(draft, command.occurrences, command.ranges, command.node, command.nodes)
    return accepted(granted, opened=opened)


def reset_clock(draft: Draft, command: ResetClock) -> Result:
    """Open a restore epoch. The only way the mark moves back; ids stay, so receivers still recognise repeats."""
    meta, shard = draft.meta(), draft.shard()
    epoch = max(meta.restore_epoch + 1, command.epoch)
    to_s = max(shard.hwm_s, command.hwm_s) if command.restored else command.hwm_s
    draft.put_meta(replace(meta, restore_epoch=epoch))
    reset = Reset(epoch, shard.hwm_s, to_s, draft.at.time_us, command.by, next_change(draft))
    draft.put(RESETS, f"{epoch:010d}", reset)
    note_change(draft, proof.reset_line(reset))
    if not command.restored:
        shard = replace(shard, catchup_from_s=0, catchup_to_s=0, cursor="")
    elif draft.get(MEMBERS, "members") is not None:
        draft.delete(MEMBERS, "members")  # what is brought back stands alone, and becomes another cluster if any
    draft.put_shard(replace(shard, hwm_s=to_s, plan_version=shard.plan_version + 1))
    draft.emit(EventType.CLOCK_RESET, by=command.by)
    return accepted(restore_epoch=epoch)


def note_clock(draft: Draft, command: NoteClock) -> Result:
    """Tell everybody what is written down."""
    kind = EventType.CLOCK_JUMP if command.what is ClockNote.JUMP else EventType.CLOCK_ACCEPTED
    draft.emit(kind, by=command.by, note=command.note)
    return accepted()


def _owe(
    draft: Draft, occurrences: list[Owed], ranges: list[RangeRecord], node: str = "", nodes: Sequence[str] = ()
) -> Step[tuple[list[str], list[Execution]]]:
    """Come to the ids of what was opened, and the executions that were granted the right to send at once."""
    opened: list[str] = []
    granted: list[Execution] = []
    token = token_of(draft)
    # By instant, so that each job's line and its adjacent skips come out in order.
    steps: list[tuple[int, Owed | RangeRecord]] = [(o.scheduled_s, o) for o in occurrences]
    steps += [(r.first_s, r) for r in ranges]
    steps.sort(key=_INSTANT)
    for first in range(0, len(steps), STEP):
        if first:
            yield
        for step, key in _with_ids([step for _, step in steps[first : first + STEP]]):
            job = draft.get(JOBS, step.job_id)
            if job is None:
                continue
            if isinstance(step, RangeRecord):
                add_range(draft, step)
            elif step.not_before_us:
                sender = nodes[len(granted) % len(nodes)] if nodes else node
                opened_id, started = open_started(draft, job, step, key, sender, token)
                opened += [opened_id] if opened_id else []
                granted += [started] if started is not None else []
            elif (execution := open_owed(draft, job, step, key)) is not None:
                opened.append(execution.id)
    return opened, granted


def _with_ids(steps: Sequence[Owed | RangeRecord]) -> list[tuple[Owed | RangeRecord, str]]:
    """Return each with the id of the execution that it is to become; a range becomes none."""
    ids = iter(owed_ids([step for step in steps if isinstance(step, Owed)]))
    return [(step, next(ids) if isinstance(step, Owed) else "") for step in steps]
