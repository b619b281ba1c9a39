"""The fold: `apply` turns state and command into what changes.

**Invariant:** pure. It reads no clock, draws no number, touches no file and never raises on a command that
no longer fits; it answers with a rejection. Folding the same log anywhere gives the same state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chronos.store.commands import (
    Backfill,
    BeginCatchup,
    Cancel,
    Catchup,
    Command,
    Decide,
    DeleteJob,
    Drop,
    ExpireDead,
    KeepHistory,
    NewLeader,
    NoteClock,
    PutDocument,
    PutJob,
    RecordMembers,
    Redrive,
    Report,
    ResetClock,
    Seal,
    SetMember,
    SetPause,
    Settle,
    Start,
    Trigger,
)
from chronos.store.fold import (
    asking,
    documents,
    idempotency,
    jobs,
    keeping,
    members,
    planning,
    sealing,
    settling,
    starting,
)
from chronos.store.fold.draft import Draft
from chronos.store.port import At, Changes, Result, View
from chronos.store.steps import Step, in_one_go

_RULES: dict[type, Callable[[Draft, Any], Result]] = {
    NewLeader: planning.new_leader,
    PutJob: jobs.put_job,
    DeleteJob: jobs.delete_job,
    SetPause: jobs.set_pause,
    BeginCatchup: planning.begin_catchup,
    Start: starting.start,
    Report: settling.report,
    Trigger: asking.trigger,
    Backfill: asking.backfill,
    Cancel: asking.cancel_execution,
    Redrive: asking.redrive,
    ExpireDead: keeping.expire_dead,
    PutDocument: documents.put_document,
    ResetClock: planning.reset_clock,
    NoteClock: planning.note_clock,
    Seal: sealing.seal,
    Drop: sealing.drop,
    KeepHistory: sealing.keep_history,
    RecordMembers: members.record_members,
    SetMember: members.set_member,
}

_STEPWISE: dict[type, Callable[[Draft, Any], Step[Result]]] = {
    Decide: planning.decide,
    Catchup: planning.catchup,
    Settle: settling.settle,
}
"""Rules of commands that change thousands of executions."""

_UNDECIDED = frozenset({"plan-moved", "catching-up"})
"""Verdicts that say *compute it again*: they are no answer to the client, and no key remembers them."""


def apply(view: View, command: Command, at: At) -> Changes:
    """Return what `command` changes in the state that `view` shows, and the verdict on it."""
    return in_one_go(apply_in_steps(view, command, at))


def apply_in_steps(view: View, command: Command, at: At) -> Step[Changes]:
    """Come to the same. What `view` shows must not change between the steps."""
    draft = Draft(view, at)
    idem = getattr(command, "idem", None)
    if idem is not None:
        earlier = idempotency.recall(draft, idem)
        if earlier is not None:
            return draft.changes(earlier)
    rule = _STEPWISE.get(type(command))
    result = _RULES[type(command)](draft, command) if rule is None else (yield from rule(draft, command))
    if result.error in _UNDECIDED:
        return Changes(result=result)
    if idem is not None:
        idempotency.remember(draft, idem, result)
    return draft.changes(result)
