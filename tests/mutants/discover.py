"""Look for the shortest run that finds each mutant, and write it into its file.

    make mutants-discover                        every mutant whose recorded run finds nothing any more
    make mutants-discover ARGS="--all"           every mutant anew
    make mutants-discover ARGS="retry-in-beside" one
    make mutants-discover ARGS="--unit"          … and run the unit tests on each, and write down whether they notice it
    make mutants-discover ARGS="--prove-unit"    only run the unit tests on each: is what is written down still so?

Exit codes: 0 each was found, 1 one survived every seed or what is written down is not so, 2 the command is wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.mutants.bank import UNIT, Mutant, Run, bank, passes_unit_tests, plant, run_module, run_tests, write

HUNT_S_MAX = 1_800.0


def main() -> int:
    """Look as told, and return the exit code."""
    given = _parser().parse_args()
    chosen = [mutant for mutant in bank() if not given.names or mutant.name in given.names]
    if given.names and len(chosen) != len(set(given.names)):
        print(f"There is no such mutant; there are {', '.join(m.name for m in bank())}", file=sys.stderr)
        return 2
    if given.prove_unit:
        return prove_unit(chosen, given.at_once)
    look = partial(
        discover, seeds=given.seeds, profiles=given.profile, anew=given.all or bool(given.names), unit=given.unit
    )
    with ThreadPoolExecutor(given.at_once) as pool:
        found = list(pool.map(look, chosen))
    lost = [mutant.name for mutant, is_found in zip(chosen, found, strict=True) if not is_found]
    print(f"{len(chosen) - len(lost)} of {len(chosen)} found" + (f"; not found: {', '.join(lost)}" if lost else ""))
    return 1 if lost else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.discover", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", help="which mutants; all if none is named")
    parser.add_argument("--seeds", type=int, default=200, help="how many runs to try with each at most")
    parser.add_argument("--profile", action="append", default=[], help="only runs of this profile; may be repeated")
    parser.add_argument("--all", action="store_true", help="also those whose recorded run still finds them")
    parser.add_argument("--unit", action="store_true", help="run the unit tests on each, too (a minute each)")
    parser.add_argument("--prove-unit", action="store_true", help="only try whether the unit tests say what they said")
    parser.add_argument("--at-once", type=int, default=2, help="how many mutants at a time")
    return parser


def discover(mutant: Mutant, *, seeds: int, profiles: list[str], anew: bool, unit: bool) -> bool:
    """Find a run for one mutant, keep it, and return whether there was one."""
    with tempfile.TemporaryDirectory(prefix="chronos-mutant-") as folder:
        source = plant(mutant, Path(folder))
        if unit:
            mutant = replace(mutant, unit=UNIT[not passes_unit_tests(mutant, source)])
            write(mutant)
            print(f"{mutant.name}: the unit tests {'let it pass' if mutant.survives else 'notice it'}", flush=True)
        if mutant.run is None:
            return run_tests([mutant.test], source).returncode == 1
        if not anew and found_near(mutant, source) is not None:
            return True
        found = hunted(seeds, mutant.run.nodes, profiles, source)
        if found is None:
            print(f"{mutant.name}: survived {seeds} runs", flush=True)
            return False
        write(replace(mutant, run=found.run, rules=found.rules))
        print(f"{mutant.name}: {found.run} breaks {', '.join(found.rules)}", flush=True)
        return True


def prove_unit(mutants: list[Mutant], at_once: int) -> int:
    """Return 1 if the unit tests say of one of them what is not written down, 0 otherwise."""

    def is_so(mutant: Mutant) -> bool:
        with tempfile.TemporaryDirectory(prefix="chronos-mutant-") as folder:
            return passes_unit_tests(mutant, plant(mutant, Path(folder))) == mutant.survives

    with ThreadPoolExecutor(at_once) as pool:
        wrong = [mutant.name for mutant, so in zip(mutants, pool.map(is_so, mutants), strict=True) if not so]
    print(
        f"of {len(mutants)}, the unit tests say what they said" + (f"; but not of {', '.join(wrong)}" if wrong else "")
    )
    return 1 if wrong else 0


class Found(NamedTuple):
    """A run that breaks promises, and what it costs (see `hunt.COST_MAX`)."""

    run: Run
    rules: tuple[str, ...]
    cost: int


def found_near(mutant: Mutant, source: Path) -> Found | None:
    """Return the recorded run, or one of a few like it, that breaks what the mutant is known to break."""
    assert mutant.run is not None
    run = mutant.run
    return _hunt(["near", str(run.seed), run.profile, str(run.minutes), str(run.nodes), *mutant.rules], source)


def hunted(seeds: int, nodes: int, profiles: list[str], source: Path) -> Found | None:
    """Return the first run of so many nodes that breaks a promise on a copy of src/."""
    return _hunt([str(seeds), str(nodes), *profiles], source)


def _hunt(arguments: list[str], source: Path) -> Found | None:
    try:
        done = run_module("tests.mutants.hunt", arguments, source, HUNT_S_MAX)
    except subprocess.TimeoutExpired:
        return None  # it hangs: that is no proof of what it breaks
    if done.returncode != 1 or not done.stdout:
        return None
    found = json.loads(done.stdout.splitlines()[-1])
    return Found(
        Run(found["seed"], found["profile"], found["minutes"], found["nodes"]), tuple(found["rules"]), found["cost"]
    )


if __name__ == "__main__":
    sys.exit(main())
