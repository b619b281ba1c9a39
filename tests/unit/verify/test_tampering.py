"""Whatever one changes in a copy of an export, verifying it says so, and names the instant."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from tests.dose import PROOF
from tests.unit.verify.exporting import Exporter
from tests.unit.verify.tampering import ROWS, Forger, Tampered

from chronos.testing.simulation.profile import PROFILES
from chronos.testing.simulation.run import lived
from chronos.verify.report import Report
from chronos.verify.verifying import Question, verify

CASES = 100 if PROOF else 12
DEEDS = ("delete", "alter", "add")
LIVES = [("churn", 1), ("clock", 2)]
LIVES += [(name, seed) for name in ("standard", "churn", "clock", "disk") for seed in range(3, 9)] if PROOF else []


@cache
def good(profile: str, seed: int) -> list[bytes]:
    """Return the export of a server that has lived through a few bad minutes."""
    exporter = Exporter(rows_max=60)
    for entry in lived(seed, profile=PROFILES[profile], minutes=3).evidence.entries:
        exporter.take(entry.changes, entry.time_us)
    return exporter.lines()


def verified(folder: Path, lines: list[bytes]) -> Report:
    path = folder / "export.ndjson"
    path.write_bytes(b"".join(lines))
    return verify([path], Question(problems_max=10_000))


def names(report: Report, told: Tampered, *, exactly: bool) -> bool:
    """Whether a problem names instants that were touched; exactly: those and no others."""
    return any(
        problem.instant_s is not None
        and problem.instant_s <= told.last_s
        and (problem.until_s or problem.instant_s) >= told.first_s
        and (not exactly or (told.first_s <= problem.instant_s and (problem.until_s or 0) <= told.last_s))
        for problem in report.problems
    )


@pytest.mark.parametrize(("profile", "seed"), LIVES)
def test_a_good_export_verifies(tmp_path: Path, profile: str, seed: int) -> None:
    report = verified(tmp_path, good(profile, seed))
    assert report.problems == []
    assert report.seals > 3
    assert report.counts.unaccounted == 0
    ended, skipped = sum(report.counts.ended.values()), sum(report.counts.skipped.values())
    assert report.counts.planned == ended + skipped > 200


@pytest.mark.parametrize("is_careful", [False, True], ids=["careless", "careful"])
@pytest.mark.parametrize("types", [ROWS, ("revision", "deletion"), ("seal",)], ids=" ".join)
@pytest.mark.parametrize("deed", DEEDS)
def test_one_line_deleted_altered_or_added_is_found_and_its_instant_named(
    tmp_path: Path, deed: str, types: tuple[str, ...], is_careful: bool
) -> None:
    for case in range(CASES):
        told = Forger(good(*LIVES[0]), case, is_careful=is_careful).tamper(types, deed)
        report = verified(tmp_path, told.lines)
        assert not report.is_verified, (case, told.what)
        # A careful forger of what was not due leaves only the seal to speak, which names the time of its segment.
        exactly = types == ROWS and (not is_careful or (deed == "delete" and told.was_due))
        assert names(report, told, exactly=exactly), (case, told.what, report.problems[:5])
