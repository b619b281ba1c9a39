"""Folding one entry: command after command, each seeing what those before it have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from chronos.model.events import Event
from chronos.store.commands import Command
from chronos.store.port import At, Changes, View
from chronos.store.steps import Step, in_one_go
from chronos.store.tables import Table

T = TypeVar("T")
_NOTHING = object()

Fold = Callable[[View, Command, At], Changes]

StepwiseFold = Callable[[View, Command, At], Step[Changes]]


class EntryView:
    """The state before an entry, with what the entry has changed so far laid over it.

    Attributes:
        changed: What lies over it; for reading, by who asks a hundred thousand times a second.
        events: How many events the commands before have told.
    """

    def __init__(self, under: View) -> None:
        self.get_under = under.get
        self.changed: dict[tuple[str, str], Any] = {}
        self.events = 0

    def get(self, table: Table[T], key: str) -> T | None:
        value: Any = self.changed.get((table.name, key), _NOTHING)
        if value is _NOTHING:
            return self.get_under(table, key)
        found: T | None = value
        return found

    def put(self, changes: Changes) -> None:
        """Lay changes over."""
        self.changed.update(changes.puts)
        self.events += len(changes.events)


def fold_entry(fold: Fold, view: View, commands: Sequence[Command], at: At) -> list[Changes]:
    """Return what each command of an entry changes, in order. `view` itself stays as it is."""
    return in_one_go(fold_in_steps(one_step_each(fold), view, commands, at))


def fold_in_steps(fold: StepwiseFold, view: View, commands: Sequence[Command], at: At) -> Step[list[Changes]]:
    """Come to the same. What `view` shows must not change between the steps."""
    if len(commands) == 1:
        return [(yield from fold(view, commands[0], at))]
    over = EntryView(view)
    changes: list[Changes] = []
    for command in commands:
        change = yield from fold(over, command, at)
        over.put(change)
        changes.append(change)
    return changes


def one_step_each(fold: Fold) -> StepwiseFold:
    """Return the same fold, which takes each command at once."""

    def stepwise(view: View, command: Command, at: At) -> Step[Changes]:
        return fold(view, command, at)
        yield

    return stepwise


def events_of(changes: Sequence[Changes]) -> list[Event]:
    """Return the events of an entry, numbered through, as the fold does unless it sees each command alone."""
    if len(changes) == 1:
        return changes[0].events
    events: list[Event] = []
    for change in changes:
        for event in change.events:
            seq = len(events)
            events.append(event if event.seq == seq else msgspec.structs.replace(event, seq=seq))
    return events
