"""What members say to each other, and what they agree on."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.message import Message

from chronos.testing.simulation.engine.store import Change


class Proposal(NamedTuple):
    """Something to be agreed on; `id` tells who asked for it."""

    id: int
    request: Message | Change


class LogEntry(NamedTuple):
    """A place in the members' log; without a proposal it only begins a term."""

    term: int
    proposal: Proposal | None


class Vote(NamedTuple):
    term: int
    last_index: int
    last_term: int
    is_pre: bool
    is_transfer: bool = False


class Voted(NamedTuple):
    term: int
    granted: bool
    is_pre: bool


class Append(NamedTuple):
    term: int
    before: int
    before_term: int
    entries: tuple[LogEntry, ...]
    commit: int


class Appended(NamedTuple):
    term: int
    ok: bool
    upto: int


class Beat(NamedTuple):
    term: int
    commit: int
    number: int


class Beaten(NamedTuple):
    term: int
    number: int


class Forward(NamedTuple):
    proposal: Proposal


class ReadIndex(NamedTuple):
    id: int


class ReadAt(NamedTuple):
    id: int
    upto: int


class Go(NamedTuple):
    """Campaign at once: the leader hands over."""

    term: int


RaftMessage = Vote | Voted | Append | Appended | Beat | Beaten | Forward | ReadIndex | ReadAt | Go
