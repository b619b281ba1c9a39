"""`verify`: an export in, a report out. The door of this room."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, field

from chronos.verify.accounting import account, window_of
from chronos.verify.lines import ResetData
from chronos.verify.reading import Export, NotAnExport, Progress, read
from chronos.verify.report import Report, Wrong, rfc3339
from chronos.verify.unpacking import unpacked
from chronos.verify.vouching import check_changes, check_seals
from chronos.verify.zones import Zones, packaged, tzdata_version

_FOLDED_ANEW = "its rows were folded anew"
_RESTORE = "restore"

__all__ = ["NotAnExport", "Question", "verify"]


class Question(Struct, frozen=True, kw_only=True):
    """What is to be verified.

    Attributes:
        since_s, until_s: Account only for instants from one up to the other; the seals are checked whole.
        heads: Hashes of seals, hex, that were kept from earlier exports: this one must go on from them.
        problems_max: How many problems to tell of; all are counted.
    """

    since_s: int | None = None
    until_s: int | None = None
    heads: list[str] = field(default_factory=list)
    problems_max: int = 20


def _silent(what: str, share: float) -> None:
    return None


def verify(paths: Sequence[Path], question: Question | None = None, progress: Progress = _silent) -> Report:
    """Return what is wrong with an export, if anything. Nothing is read but the files; memory is bounded.

    Args:
        paths: The files of one export, in their order when it came in parts; they may be compressed (gzip).

    Raises:
        NotAnExport: They are none, or one without what is needed to verify it.
        OSError: A file cannot be read.
    """
    with unpacked(paths) as plain:
        return _verified(plain, question or Question(), progress)


def _verified(paths: Sequence[Path], asked: Question, progress: Progress) -> Report:
    report = Report(problems_max=asked.problems_max)
    export = read(paths, report, progress)
    check_seals(export, report, asked.heads)
    check_changes(export, report)
    zones = _zones(export, report)
    account(export, report, zones, window_of(export, asked.since_s, asked.until_s), progress)
    _note_what_is_open(export, report)
    return report


def _zones(export: Export, report: Report) -> Zones:
    """Return the zones by the export's rules, after holding them against the package's."""
    report.tzdata = export.header.tzdata
    here = tzdata_version()
    differing = [name for name, zone in export.zones.items() if packaged(name) != zone.tzif]
    for name in differing:
        if export.zones[name].tzdata == here:
            what = f"the rules of {name} are not those of tzdata {here}"
            report.wrong(Wrong.ZONE_DIFFERS, what, instant_s=export.header.hwm_s)
    if differing and export.header.tzdata != here:
        report.notes.append(
            f"Zones are judged by the export's own rules (tzdata {export.header.tzdata}), which nothing vouches for; "
            f"those of tzdata {here} differ for {', '.join(sorted(differing)[:5])}."
        )
    return Zones({name: zone.tzif for name, zone in export.zones.items()})


def _note_what_is_open(export: Export, report: Report) -> None:
    if report.unsealed_rows:
        report.notes.append(
            f"{report.unsealed_rows} records lie in segments that are not sealed yet: nothing vouches for them."
        )
    for drop in export.drops.values():
        if drop.whole and drop.why.startswith(_FOLDED_ANEW):
            report.notes.append(
                f"The {drop.rows} records of segment {drop.segment} were made anew from the log and lie in later "
                "segments: its seal does not vouch for them."
            )
    report.notes += [_note_of(reset) for reset in export.resets]


def _note_of(reset: ResetData) -> str:
    moved = f"from {rfc3339(reset.from_s)} to {rfc3339(reset.to_s)}"
    if reset.by == _RESTORE:
        later = f": what was due {moved} was given up" if reset.from_s != reset.to_s else ""
        return f"A backup was restored at {rfc3339(reset.time_us // 1_000_000)} (restore epoch){later}."
    return f"The clock was set {moved} (restore epoch): instants in between were decided twice, or never."
