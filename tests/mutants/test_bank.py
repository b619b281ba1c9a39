"""Every planted bug is caught, by the run that is recorded for it, with a promise it is known to break.

`make test` replays a sample, `make proof` (CHRONOS_PROOF=1) the whole bank. See docs/explanation/testing.md.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from tests.dose import PROOF
from tests.mutants.bank import ROOT, UNIT, Mutant, Run, Stale, bank, plant, planted, read, run_tests
from tests.mutants.discover import found_near
from tests.mutants.hunt import COST_MAX, report_of_run
from tests.mutants.unit import FOLDERS, SIMULATED, module_of, unit_tests_of

from chronos.testing.simulation.profile import CLUSTER_PROFILES, PROFILES

AREAS = {
    "cluster",
    "log",
    "fold",
    "hwm",
    "overlap",
    "retry",
    "recall",
    "lease",
    "clock",
    "restore",
    "egress",
    "worker protocol",
}
SURVIVORS_MIN = 12
MUTANTS = bank()
PAGE = ROOT / "docs" / "explanation" / "testing.md"
REPLAYED = MUTANTS if PROOF else [mutant for mutant in MUTANTS if mutant.run][::8]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", REPLAYED, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    source = plant(mutant, tmp_path)
    if mutant.run is None:
        assert run_tests([mutant.test], source).returncode == 1, f"{mutant.test} does not notice it"
        return
    found = found_near(mutant, source)
    assert found is not None, f"neither {mutant.run} nor the next ones break one of {mutant.rules}"
    assert sound(found.run), f"{found.run} breaks a promise without the planted bug"
    assert found.cost <= COST_MAX, f"{found.run} costs {found.cost}: look for a shorter run"


@cache
def sound(run: Run) -> bool:
    """Whether a run keeps every promise when nothing was planted."""
    return not report_of_run(run).violations


def test_the_bank_is_large_enough_and_covers_every_area() -> None:
    assert len(MUTANTS) >= 20
    assert {mutant.area for mutant in MUTANTS} == AREAS
    assert sum(mutant.survives for mutant in MUTANTS) >= SURVIVORS_MIN, "of those that only the harness finds"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_says_what_it_is(mutant: Mutant) -> None:
    assert mutant.patch.count("--- src/chronos/") == mutant.patch.count("+++ src/chronos/") == 1
    assert mutant.plants[0].islower()
    assert not mutant.plants.endswith(".")
    assert mutant.unit in UNIT
    assert mutant.run is None or mutant.run.profile in (PROFILES if mutant.run.nodes == 1 else CLUSTER_PROFILES)
    assert not (mutant.survives and mutant.test.startswith(FOLDERS)), "what a unit test finds does not survive them"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_can_still_be_planted_and_is_python(mutant: Mutant) -> None:
    for name, text in planted(mutant).items():
        compile(text, name, "exec")


def test_only_tests_that_load_a_module_are_asked_of_it() -> None:
    assert "tests/unit/timing/test_trusted.py" in unit_tests_of("chronos.timing.trusted")
    assert "tests/unit/store/test_machine_stateful.py" in unit_tests_of("chronos.store.fold.jobs")
    assert "tests/unit/timing/test_trusted.py" not in unit_tests_of("chronos.store.fold.jobs")
    for mutant in MUTANTS:
        asked = unit_tests_of(module_of(mutant.patch))
        assert asked, f"{mutant.name}: no unit test loads what it is in"
        assert not any(name.startswith(SIMULATED) for name in asked)


def test_what_runs_the_simulation_is_no_unit_test() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("test_*.py")]
    simulated = [str(path.relative_to(ROOT)) for path in files if "chronos.testing.simulation" in path.read_text()]
    assert simulated
    assert [name for name in simulated if not name.startswith(SIMULATED)] == []


def test_no_two_mutants_are_the_same() -> None:
    changes = Counter(
        tuple(line for line in mutant.patch.splitlines() if line.startswith(("+", "-"))) for mutant in MUTANTS
    )
    assert max(changes.values()) == 1


def test_a_patch_that_does_not_apply_says_how_to_renew_it(tmp_path: Path) -> None:
    stale = tmp_path / "gone.patch"
    head = (
        "Area: log\nPlants: nothing\nBreaks: I1\nFound-by: seed 1, profile standard, 1 minutes\nUnit-tests: survives\n"
    )
    stale.write_text(
        head + "\n--- src/chronos/errors.py\n+++ src/chronos/errors.py\n@@ -1 +1 @@\n-was never there\n+is\n"
    )
    with pytest.raises(Stale, match="make mutants-discover ARGS=gone"):
        plant(read(stale), tmp_path)


def test_the_page_lists_the_bank() -> None:
    text = PAGE.read_text()
    listed = text.partition("<!-- mutants -->\n")[2].partition("<!-- /mutants -->")[0]
    if os.environ.get("CHRONOS_WRITE_REFERENCE") == "1":
        PAGE.write_text(text.replace(f"<!-- mutants -->\n{listed}", f"<!-- mutants -->\n{table(MUTANTS)}"))
        return
    assert listed == table(MUTANTS), "make reference writes it anew"


def table(mutants: list[Mutant]) -> str:
    """Return the bank as the documentation lists it."""
    rows = ["| area | bug | breaks | found by |", "|---|---|---|---|"]
    for mutant in sorted(mutants, key=lambda mutant: (mutant.area, mutant.name)):
        name = f"**{mutant.name}**" if mutant.survives else mutant.name
        found = str(mutant.run) if mutant.run is not None else "`" + mutant.test.rpartition("::")[2] + "`"
        rows.append(f"| {mutant.area} | {name}: {mutant.plants} | {', '.join(mutant.rules)} | {found} |")
    return "\n".join(rows) + "\n"
