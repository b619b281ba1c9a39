"""What the API says about versions. A version is a revision of the job: the number in its ETag."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from chronos.model.job import JobSpec


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether the routes are there."""

    enabled: bool = True


class ChangeKind(StrEnum):
    """What became of a field."""

    ADDED = "added"
    REMOVED = "removed"
    MODIFIED = "modified"


class Change(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One field that differs.

    Attributes:
        path: Like `retry_policy.max_attempts` or `notify.channels[0].url`.
        old: Absent (null) when it was added; a credential is shown as `***`.
        new: Absent (null) when it was removed.
    """

    path: str
    kind: ChangeKind
    old: Any = None
    new: Any = None


class VersionSummary(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version, without what it says.

    Attributes:
        at: Log time at which it was accepted.
        by: Who wrote it.
        current: Whether it is the one in force.
        fields_changed: Paths that differ from the version before it; empty for the first.
    """

    job_id: str
    version: int
    at: datetime
    by: str
    comment: str
    current: bool
    fields_changed: list[str]


class VersionPage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Versions, newest first.

    Attributes:
        next_cursor: Send it as `cursor` for the next page; null at the end.
    """

    versions: list[VersionSummary]
    total: int
    next_cursor: str | None = None


class Version(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version and what it says; credentials are shown as `***`."""

    job_id: str
    version: int
    at: datetime
    by: str
    comment: str
    current: bool
    spec: JobSpec


class Diff(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is different between two versions of a job.

    Attributes:
        text: The same for people, a line for each change.
    """

    job_id: str
    from_version: int = field(name="from")
    to_version: int = field(name="to")
    changes: list[Change]
    text: str


class RolledBack(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a rollback did.

    Attributes:
        rolled_back_from: The version that was in force before.
        rolled_back_to: The version whose content is in force again.
        new_version: The version that was written for it.
    """

    job: Version
    rolled_back_from: int
    rolled_back_to: int
    new_version: int
    changes: list[Change]


Number = Annotated[int, Meta(ge=1, le=2**53)]


class ListQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, Meta(max_length=32)] = ""


class DiffFormat(StrEnum):
    """How a difference is answered."""

    JSON = "json"
    TEXT = "text"


class DiffQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which two versions: by default the newest and the one before it."""

    from_version: Number | None = field(name="from", default=None)
    to_version: Number | None = field(name="to", default=None)
    format: DiffFormat = DiffFormat.JSON
