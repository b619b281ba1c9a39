"""Every error Chronos raises on purpose.

    ChronosError
    ├── Invalid            the request is wrong          400  exit 2
    │   ├── Unprocessable  read, but it makes no sense   422
    │   └── PreconditionRequired                         428
    ├── Unauthenticated    nobody we know                401  exit 3
    ├── Denied             the caller may not            403  exit 3
    │   └── RateLimited                                  429
    ├── NotFound           no such thing                 404  exit 4
    ├── Conflict           the thing has moved on        409  exit 5
    │   └── VersionConflict                              412
    └── Unavailable        ask again, elsewhere          503  exit 6
        └── StorageFull                                  507

Families carry meaning; leaves carry facts. `server` and `cli` map the families drawn above to
statuses and exit codes, so a new leaf touches neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar


class ChronosError(Exception):
    """Chronos failed in a way it has a name for."""

    slug: ClassVar[str] = "chronos-error"  # stable, documented, part of the API

    def __init_subclass__(cls) -> None:
        cls.slug = "".join("-" + c.lower() if c.isupper() else c for c in cls.__name__).lstrip("-")

    def __init__(self, message: str | None = None, **facts: object) -> None:
        # The docstring is the message nobody has to write twice.
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])
        self.facts = facts


class Invalid(ChronosError):
    """The request cannot be understood."""


class Unprocessable(Invalid):
    """The request is well formed, but what it asks for makes no sense."""


class ScheduleInvalid(Unprocessable):
    """Not a schedule.

    `facts` has `field`, `token` and `allowed` where they are known.
    """


class ScheduleNeverFires(Unprocessable):
    """The schedule has no instant at which it fires."""


class TimezoneUnknown(Unprocessable):
    """There is no such time zone."""


class DurationInvalid(Unprocessable):
    """Not a duration."""


class CalendarInvalid(Unprocessable):
    """Not a calendar."""


class JobInvalid(Unprocessable):
    """The job cannot be accepted."""


class IdempotencyKeyReused(Unprocessable):
    """This idempotency key was used before with another body."""


class ConfigInvalid(Invalid):
    """The configuration cannot be used."""


class PreconditionRequired(Invalid):
    """Send `If-Match` with the job's ETag, so that nobody's change is overwritten unseen."""


class Unauthenticated(ChronosError):
    """Say who you are: send `Authorization: Bearer KEY` or `X-API-Key: KEY`."""


class Denied(ChronosError):
    """The caller may not do this."""


class CallbackRefused(Denied):
    """This callback address is not one of this server's, or its time is over."""


class EgressRefused(Denied):
    """The target's address is not one this server may call."""


class QuotaExceeded(Denied):
    """The limit on how many of these there may be is reached."""


class RateLimited(Denied):
    """Too many requests; try again later."""


class NotFound(ChronosError):
    """There is no such thing."""


class JobNotFound(NotFound):
    """There is no such job."""


class ExecutionNotFound(NotFound):
    """There is no such execution."""


class RevisionNotFound(NotFound):
    """The job has no such version."""


class NodeUnknown(NotFound):
    """There is no such node; register it first."""


class Conflict(ChronosError):
    """The thing has changed since it was read."""


class NameTaken(Conflict):
    """Another job of this namespace has this name."""


class Overlap(Conflict):
    """The job is running already, and its concurrency policy forbids a second run."""


class ExecutionEnded(Conflict):
    """The execution has ended; what has ended does not change."""


class AttemptEnded(Conflict):
    """The attempt has ended; what is reported on it now changes nothing."""


class NotRedrivable(Conflict):
    """Only a dead-lettered execution can be redriven."""


class LeaseLost(Conflict):
    """The lease is over; another may have the resource by now."""


class VersionConflict(Conflict):
    """The job was changed by someone else; read it again."""


class Unavailable(ChronosError):
    """Not here, not now; the same request may succeed later."""


class NotLeader(Unavailable):
    """This node does not lead; `facts["leader"]` may."""


class Draining(Unavailable):
    """This node is shutting down; send the request again in a second."""


class Overloaded(Unavailable):
    """Too much is waiting already; send the request again later."""


class PlanMoved(Unavailable):
    """Planning has gone on since this was computed; compute it again."""


class CatchingUp(Unavailable):
    """What this job owes is being decided, as after an outage; send the request again in a second."""


class Fenced(NotLeader):
    """Another node leads by now; what this one wanted to append is not in the log."""


class SnapshotNeeded(Unavailable):
    """The log no longer reaches back that far; `facts["first"]` is the first entry it has."""


class LogFailed(Unavailable):
    """Writing to disk failed, and nobody can say what is on it; the server has to be started anew."""


class WorkersFailed(Unavailable):
    """The worker processes that deliver die, or do not answer."""


class ClockHeld(Unavailable):
    """The wall clock has jumped and is not trusted yet; `chronosctl clock accept` accepts it."""


class LogDamaged(Unavailable):
    """The log on disk does not verify; it is not served."""


class StateDamaged(LogDamaged):
    """State or history on disk is damaged; it is not served."""


class FormatUnreadable(Unavailable):
    """A file is of a format that this release does not read; `facts["needs"]` is a release that does."""


class DataFolderInUse(Unavailable):
    """Another process uses this data folder."""


class StorageFull(Unavailable):
    """The disk is full; nothing was changed. Free some space and send the request again."""


class PeerUnreachable(Unavailable):
    """The other node cannot be reached; nothing was sent to it."""


class PeerSilent(Unavailable):
    """The other node was asked and did not answer in time; whether it did what it was asked to is not known."""


def kind_of(slug: str) -> type[ChronosError] | None:
    """Return the error of this slug, wherever it is defined; None when nothing loaded here defines it."""
    return next((kind for kind in _below(ChronosError) if kind.slug == slug), None)


def _below(kind: type[ChronosError]) -> Iterator[type[ChronosError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _below(below)
