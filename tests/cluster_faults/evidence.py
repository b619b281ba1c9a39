"""What there is to judge by: what the target saw, what was done to the cluster, and what each node's export says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.cluster_faults.load import group_of
from tests.torture.witness import Arrival, Sent

from chronos.verify.verifying import Question, verify

LEASE_S = 5.2
"""After so long without a word the others take a node's work for lost."""


class Fault(NamedTuple):
    """Something that was done to nodes, and undone.

    Attributes:
        nodes: What these had under way may be sent a second time; nothing of the others may.
        keeps_quorum: Whether the others had to go on meanwhile.
        pauses: Whether the nodes stood still, so that each may send what it was about to send when it goes on.
        clock_s: How far their clocks were off at most, forwards or backwards.
    """

    what: str
    nodes: tuple[str, ...]
    began: float
    healed: float
    keeps_quorum: bool = True
    pauses: bool = False
    clock_s: float = 0.0


class Try(NamedTuple):
    """An attempt, as history has it.

    Attributes:
        token: The fencing token: restore epoch, term, index.
    """

    n: int
    node: str
    token: tuple[int, ...]
    status: str
    resent: bool = False


class Record(NamedTuple):
    """An execution, as history has it."""

    id: str
    job: str
    due: int
    status: str
    tries: tuple[Try, ...] = ()


class Skipped(NamedTuple):
    """Adjacent instants that were skipped for one reason."""

    job: str
    first: int
    last: int
    reason: str

    @property
    def instants(self) -> range:
        return range(self.first, self.last + 1, group_of(self.job).every_s)


class Book(NamedTuple):
    """All that one node knows.

    Attributes:
        decided: Up to which instant it knows what became of everything.
        wrong: What `chronos verify` says against it.
        data: Each record that has ended, word for word.
    """

    records: list[Record]
    open: list[Record]
    ranges: list[Skipped]
    decided: int
    wrong: list[str]
    data: Mapping[str, str]

    def is_drained(self, window: tuple[int, int]) -> bool:
        """Whether everything that was due in the window is decided and has ended."""
        return self.decided >= window[1] and not any(window[0] <= each.due <= window[1] for each in self.open)

    def by_id(self) -> dict[str, Record]:
        """Return its executions, ended or not."""
        return {each.id: each for each in (*self.records, *self.open)}


@dataclass
class Evidence:
    """All there is to judge by.

    Attributes:
        repeated: Attempts that the target saw more than once.
        stalls: When the target itself stood still: nobody can say what was late then.
        window: First and last instant to judge, both included.
        since: From which instant on jobs are judged that were made later than the others.
    """

    arrivals: Sequence[Arrival]
    repeated: Sequence[Sent]
    stalls: Sequence[tuple[float, float]]
    faults: Sequence[Fault]
    books: Mapping[str, Book]
    window: tuple[int, int]
    since: Mapping[str, int]
    wire: Mapping[str, int] = field(default_factory=dict)

    @property
    def disturbances(self) -> Iterator[Fault]:
        """What was done, and when the machine stood still by itself."""
        yield from self.faults
        everybody = tuple(self.books)
        for since, until in self.stalls:
            nodes = everybody if until - since >= LEASE_S else ()
            yield Fault("the machine stood still", nodes, since, until, keeps_quorum=False, pauses=True)

    def due(self, job: str) -> range:
        """Return the instants at which a job was due: those that its period divides."""
        every = group_of(job).every_s
        first = max(self.window[0], self.since[job])
        return range(first + -first % every, self.window[1] + 1, every)


def book_of(path: Path, window: tuple[int, int]) -> Book:
    """Read a node's export, and let `chronos verify` read it, too."""
    records: dict[str, tuple[int, Record, str]] = {}
    ranges: dict[tuple[str, int, str], Skipped] = {}
    unended: list[Record] = []
    decided = 0
    for text in path.read_text().splitlines():
        line = json.loads(text)
        kind, data = line["type"], line.get("data", {})
        if kind == "header":
            decided = line["hwm_s"] if not line.get("catchup_to_s") else line["catchup_from_s"]
        elif kind == "execution":
            series = data.get("series", 0)
            if series >= records.get(data["id"], (0,))[0]:
                records[data["id"]] = (series, _record(data), json.dumps(data, sort_keys=True))
        elif kind == "open":
            unended.append(_record(data))
        elif kind == "range":
            found = Skipped(data["job_name"], data["first_s"], data["last_s"], data["reason"])
            key = found.job, found.first, found.reason
            ranges[key] = max(ranges.get(key, found), found, key=lambda each: each.last)
    report = verify([path], Question(since_s=window[0], until_s=min(window[1], decided)))
    wrong = [f"{each.kind}: {each.what}" for each in report.problems]
    words = {key: word for key, (_, record, word) in records.items() if window[0] <= record.due <= window[1]}
    return Book([record for _, record, _ in records.values()], unended, list(ranges.values()), decided, wrong, words)


def _record(data: dict[str, Any]) -> Record:
    tries = tuple(
        Try(
            each["n"],
            str(each["node"]).partition("#")[0],
            tuple(int(part) for part in each["token"].split(".")),
            each.get("status", "started"),
            each.get("resent", False),
        )
        for each in data.get("attempts", [])
    )
    return Record(data["id"], data["job_name"], data["scheduled_s"], data.get("status", "pending"), tries)
