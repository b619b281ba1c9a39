"""What waits to be written: submissions, and how they are put together to entries."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from chronos.errors import Invalid, Overloaded
from chronos.model.formats import ENTRY
from chronos.store.commands import (
    Backfill,
    BeginCatchup,
    Cancel,
    Catchup,
    Command,
    Decide,
    DeleteJob,
    PutJob,
    Redrive,
    SetPause,
    Settle,
    Start,
    Trigger,
)
from chronos.store.port import Result

_encode = msgspec.msgpack.Encoder().encode

OF_EXECUTIONS = (Decide, Start, Settle, BeginCatchup, Catchup)
"""Commands of the scheduler that change thousands of executions at a time, and nothing else."""

ASKED_FOR = (PutJob, DeleteJob, SetPause, Trigger, Backfill, Cancel, Redrive)
"""Commands for which, as a rule, somebody outside waits. Documents are not among them: most are the server's own."""


class _EncodedEntry(Struct, frozen=True, array_like=True):
    """`LogEntry`, with commands that are bytes already; on disk they are the same."""

    format: int
    time_us: int
    batch: bytes
    commands: list[msgspec.Raw]


class _EncodedWithAlive(_EncodedEntry, frozen=True, array_like=True):
    """The same in a cluster, when somebody lives that others have to hear of."""

    alive: Mapping[str, int]


class Submission:
    """Commands that somebody wants to become true together, and the future that tells what became of them.

    Attributes:
        since_s: Since when it waits, by `Clock.boottime`.
        is_patient: Whether only the scheduler waits for it.
        is_asked_for: Whether somebody outside does.
    """

    __slots__ = ("answer", "commands", "encoded", "is_asked_for", "is_patient", "since_s", "size")

    def __init__(
        self, commands: Sequence[Command], answer: asyncio.Future[list[Result]], *, since_s: float = 0.0
    ) -> None:
        self.commands = commands
        self.encoded = [msgspec.Raw(_encode(command)) for command in commands]
        self.size = sum(memoryview(raw).nbytes for raw in self.encoded)
        self.is_patient = all(isinstance(command, OF_EXECUTIONS) for command in commands)
        self.is_asked_for = not self.is_patient and any(isinstance(command, ASKED_FOR) for command in commands)
        self.answer = answer
        self.since_s = since_s

    def succeed(self, results: list[Result]) -> None:
        """Wake whoever waits. Nothing happens when nobody does any more."""
        if not self.answer.done():
            self.answer.set_result(results)

    def fail(self, error: Exception) -> None:
        """Wake whoever waits with an error. Nothing happens when nobody does any more."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # whoever did not wait need not hear of it


def encode_submissions(
    submissions: Sequence[Submission], time_us: int, batch: bytes, alive: Mapping[str, int] | None = None
) -> bytes:
    """Return the log entry that holds the submissions' commands in order."""
    commands = [raw for submission in submissions for raw in submission.encoded]
    if alive:
        return _encode(_EncodedWithAlive(ENTRY.current, time_us, batch, commands, alive))
    return _encode(_EncodedEntry(ENTRY.current, time_us, batch, commands))


class Pace:
    """Spaces the commits of a busy log, so that each carries more; a log that is not busy commits at once.

    An fsync costs the same for one command as for hundreds. Source: group commit, as PostgreSQL's `commit_delay`.

    Args:
        spacing_s: The least time between two commits of a busy log, while somebody outside waits for the next.
        patience_s: The same while only the scheduler does: what it writes is ahead of its time, or over.
        busy_at: Busy is whoever made more commits in the second that runs, or in the one before.
    """

    def __init__(self, spacing_s: float, patience_s: float, busy_at: int) -> None:
        self._spacing_s = spacing_s
        self._patience_s = patience_s
        self._busy_at = busy_at
        self._last_s = self._second_s = float("-inf")
        self._commits = self._before = 0

    def wait_s(self, now_s: float, *, is_patient: bool) -> float:
        """Return how long to wait before the next commit, by boot time."""
        if max(self._commits, self._before) <= self._busy_at:
            return 0.0
        return max(0.0, self._last_s + (self._patience_s if is_patient else self._spacing_s) - now_s)

    def note(self, now_s: float) -> None:
        """Count a commit that is made now."""
        since_s = now_s - self._second_s
        if since_s >= 1.0:
            self._before = self._commits if since_s < 2.0 else 0
            self._second_s, self._commits = now_s, 0
        self._commits += 1
        self._last_s = now_s


class Queue:
    """Submissions in the order they came in.

    Args:
        commands_max: How many commands may wait.
        bytes_max: What they may weigh together.
        submission_bytes_max: What one submission may weigh; it is never split.

    Attributes:
        asked_s: When somebody outside last wanted something written, by boot time.
    """

    def __init__(self, commands_max: int, bytes_max: int, submission_bytes_max: int) -> None:
        self._waiting: deque[Submission] = deque()
        self._commands_max = commands_max
        self._bytes_max = bytes_max
        self._submission_bytes_max = submission_bytes_max
        self._commands = 0
        self._bytes = 0
        self._impatient = 0
        self.asked_s = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_patient(self) -> bool:
        """Whether only the scheduler waits."""
        return not self._impatient

    @property
    def commands(self) -> int:
        """How many commands wait."""
        return self._commands

    def put(self, submission: Submission) -> None:
        """Take a submission in.

        Raises:
            Overloaded: Too much waits already.
            Invalid: The submission is too big to ever fit into an entry.
        """
        if submission.size > self._submission_bytes_max:
            raise Invalid(f"The request is too big: {submission.size} bytes of {self._submission_bytes_max} allowed.")
        commands, size = self._commands + len(submission.commands), self._bytes + submission.size
        if self._waiting and (commands > self._commands_max or size > self._bytes_max):
            raise Overloaded(waiting=self._commands)
        self._waiting.append(submission)
        self._commands, self._bytes = commands, size
        self._impatient += not submission.is_patient
        if submission.is_asked_for:
            self.asked_s = submission.since_s

    def take(self, commands_max: int, bytes_max: int) -> list[Submission]:
        """Take out the oldest submissions that fit into one entry; at least one, unless none waits."""
        taken: list[Submission] = []
        commands = size = 0
        while self._waiting:
            commands += len(self._waiting[0].commands)
            size += self._waiting[0].size
            if taken and (commands > commands_max or size > bytes_max):
                break
            taken.append(self._waiting.popleft())
        self._commands -= sum(len(submission.commands) for submission in taken)
        self._bytes -= sum(submission.size for submission in taken)
        self._impatient -= sum(not submission.is_patient for submission in taken)
        return taken
