"""What verification has found: counts, and what is wrong, each with its job and instant."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct, field

_LAST_YEAR_S: Final = 253_402_300_799  # 9999-12-31T23:59:59Z


class Wrong(StrEnum):
    """What can be wrong. The names are part of what `-o json` promises."""

    CUT_OFF = "cut-off"
    LINE_UNREADABLE = "line-unreadable"
    ROW_ALTERED = "row-altered"
    ROW_MISSING = "row-missing"
    ROW_ADDED = "row-added"
    SEGMENT_DIFFERS = "segment-differs"
    SEGMENT_MISSING = "segment-missing"
    SEGMENT_ADDED = "segment-added"
    SEAL_DIFFERS = "seal-differs"
    SEAL_MISSING = "seal-missing"
    CHANGE_ALTERED = "change-altered"
    CHANGE_MISSING = "change-missing"
    CHANGE_ADDED = "change-added"
    CHAIN_DIFFERS = "chain-differs"
    HEAD_UNKNOWN = "head-unknown"
    ZONE_DIFFERS = "zone-differs"
    NOT_UNDERSTOOD = "not-understood"
    ID_WRONG = "id-wrong"
    JOB_UNKNOWN = "job-unknown"
    REVISION_UNKNOWN = "revision-unknown"
    INSTANT_MISSING = "instant-missing"
    INSTANT_TWICE = "instant-twice"
    INSTANT_NOT_OWED = "instant-not-owed"
    RANGE_DIFFERS = "range-differs"
    REDRIVE_WITHOUT_FAILURE = "redrive-without-failure"
    TOO_MUCH_GONE = "too-much-gone"


MEANS: Final = {
    Wrong.CUT_OFF: "The export is not whole; ask for the rest of it.",
    Wrong.LINE_UNREADABLE: "The file was damaged or changed here.",
    Wrong.ROW_ALTERED: "The record was changed after it was written.",
    Wrong.ROW_MISSING: "A record was taken out.",
    Wrong.ROW_ADDED: "A record was put in that was not there.",
    Wrong.SEGMENT_DIFFERS: "Records of that time were changed, taken out or put in after they were sealed.",
    Wrong.SEGMENT_MISSING: "All records of that segment were taken out, and retention did not do it.",
    Wrong.SEGMENT_ADDED: "There are records that nobody has sealed, of a time that is sealed.",
    Wrong.SEAL_DIFFERS: "This seal, or the one after it, was changed or replaced.",
    Wrong.SEAL_MISSING: "A seal was taken out; nothing vouches for the records of that time.",
    Wrong.CHANGE_ALTERED: "What jobs owed was rewritten.",
    Wrong.CHANGE_MISSING: "Part of what jobs owed was taken out.",
    Wrong.CHANGE_ADDED: "Something was put in among what jobs owed.",
    Wrong.CHAIN_DIFFERS: "What jobs owed was rewritten, taken out or put in between these two times.",
    Wrong.HEAD_UNKNOWN: "This history does not go on from the one you know: it was rewritten, or is another's.",
    Wrong.ZONE_DIFFERS: "The export's time zone rules are not those of that release: instants may have been moved.",
    Wrong.NOT_UNDERSTOOD: "What this job owed cannot be computed, so it is not verified.",
    Wrong.ID_WRONG: "The record is not the one of that job and instant.",
    Wrong.JOB_UNKNOWN: "There is a record of a job that was never there.",
    Wrong.REVISION_UNKNOWN: "There is a record of a definition that was never there.",
    Wrong.INSTANT_MISSING: "It was due, and nothing says that it ran or why it did not.",
    Wrong.INSTANT_TWICE: "One due instant has two records that differ.",
    Wrong.INSTANT_NOT_OWED: "It ran, or is said to be skipped, and nothing was due then.",
    Wrong.RANGE_DIFFERS: "The record counts other instants than were due and did not run.",
    Wrong.REDRIVE_WITHOUT_FAILURE: "Only what has failed can be started anew.",
    Wrong.TOO_MUCH_GONE: "More is missing than retention has taken.",
}


class Problem(Struct, frozen=True, kw_only=True):
    """Something that is wrong.

    Attributes:
        job: Namespace and name, as far as they are known.
        instant_s: The instant it is about, or the first of them.
        until_s: The last of them, when there are several.
    """

    kind: Wrong
    what: str
    job: str = ""
    job_id: str = ""
    instant_s: int | None = None
    until_s: int | None = None

    @property
    def means(self) -> str:
        return MEANS[self.kind]

    @property
    def when(self) -> str:
        """The instants in words: RFC 3339, or an empty text."""
        if self.instant_s is None:
            return ""
        first = rfc3339(self.instant_s)
        return first if self.until_s in (None, self.instant_s) else f"{first} to {rfc3339(self.until_s)}"


class JobCounts(Struct, kw_only=True):
    """How the planned instants of a job, or of all, were accounted for.

    Attributes:
        ended: Executions of due instants by status; `open` has not ended yet.
        skipped: Instants that did not run, by reason.
        gone: Instants whose records retention has taken.
        in_pause: Instants of a pause that has not ended: they are recorded when it does.
    """

    job: str = ""
    planned: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    gone: int = 0
    in_pause: int = 0
    unaccounted: int = 0
    by_hand: int = 0

    def add(self, other: JobCounts) -> None:
        """Add the counts of another job."""
        self.planned += other.planned
        self.ended += other.ended
        self.skipped += other.skipped
        self.gone += other.gone
        self.in_pause += other.in_pause
        self.unaccounted += other.unaccounted
        self.by_hand += other.by_hand


class Report(Struct, kw_only=True):
    """All that verification says.

    Attributes:
        problems: The first of them, as many as were asked for; `total` counts all.
        head: Hash of the last seal, hex: keep it, and a later export can be held against it.
    """

    problems_max: int = 20
    problems: list[Problem] = field(default_factory=list)
    total: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    counts: JobCounts = field(default_factory=JobCounts)
    jobs: dict[str, JobCounts] = field(default_factory=dict)
    lines: int = 0
    rows: int = 0
    segments: int = 0
    seals: int = 0
    changes: int = 0
    unsealed_rows: int = 0
    from_s: int = 0
    to_s: int = 0
    head: str = ""
    head_segment: int = 0
    tzdata: str = ""

    @property
    def is_verified(self) -> bool:
        return self.total == 0

    def wrong(
        self,
        kind: Wrong,
        what: str,
        *,
        job: str = "",
        job_id: str = "",
        instant_s: int | None = None,
        until_s: int | None = None,
    ) -> None:
        """Note a problem; when there are many, only count it."""
        self.total += 1
        self.kinds[kind.value] += 1
        if len(self.problems) < self.problems_max:
            self.problems.append(
                Problem(kind=kind, what=what, job=job, job_id=job_id, instant_s=instant_s, until_s=until_s)
            )


def rfc3339(instant_s: int | None) -> str:
    """Return an instant as people and programs read it."""
    if instant_s is None or not 0 <= instant_s <= _LAST_YEAR_S:
        return str(instant_s)
    return f"{datetime.fromtimestamp(instant_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
