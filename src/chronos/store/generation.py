"""What has changed in state and history between two flushes."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from chronos.model.job import Job
from chronos.store.records import Record
from chronos.store.refolding import Journaled
from chronos.store.state import Key


class Generation(Struct):
    """What has changed between two flushes.

    Attributes:
        fresh: Keys of `puts` that are not in state.db; deleting one forgets it.
        jobs: The jobs among `puts`, by id; None for those that are gone. Searches for jobs lay them over the file.
        days: How long each of `records` is kept; 0 is as long as the server says for all.
        journal: While history is folded once more, every version of `records`, with the entry that made it.
    """

    puts: dict[Key, Any] = field(default_factory=dict)
    fresh: set[Key] = field(default_factory=set)
    jobs: dict[str, Job | None] = field(default_factory=dict)
    records: dict[tuple[str, int], Record] = field(default_factory=dict)
    days: dict[tuple[str, int], int] = field(default_factory=dict)
    journal: list[Journaled] = field(default_factory=list)
