"""Look for the shortest run that finds each mutant, and write it into its file.

    make mutants-discover                        every mutant whose recorded run finds nothing any more
    make mutants-discover ARGS="--all"           every mutant anew
    make mutants-discover ARGS="retry-in-beside" one
    make mutants-discover ARGS="--unit"          … and run the unit tests on each, to see whether they notice it

Exit codes: 0 each was found, 1 one survived every seed, 2 the command is wrong.
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

from tests.mutants.bank import Mutant, Run, bank, plant, run_module, run_tests, write

UNIT = ["tests/unit", "tests/conformance"]
HUNT_S_MAX = 1_800.0
NOT_UNIT = ["--ignore=tests/unit/testing", "-n", "1"]


def main() -> int:
    """Look as told, and return the exit code."""
    given = _parser().parse_args()
    chosen = [mutant for mutant in bank() if not given.names or mutant.name in given.names]
    if given.names and len(chosen) != len(set(given.names)):
        print(f"There is no such mutant; there are {', '.join(m.name for m in bank())}", file=sys.stderr)
        return 2
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
    parser.add_argument("--unit", action="store_true", help="run the unit tests on each, too (minutes each)")
    parser.add_argument("--at-once", type=int, default=2, help="how many mutants at a time")
    return parser


def discover(mutant: Mutant, *, seeds: int, profiles: list[str], anew: bool, unit: bool) -> bool:
    """Find a run for one mutant, keep it, and return whether there was one."""
    with tempfile.TemporaryDirectory(prefix="chronos-mutant-") as folder:
        source = plant(mutant, Path(folder))
        if unit:
            survives = run_tests(UNIT, source, *NOT_UNIT).returncode == 0
            mutant = replace(mutant, unit="survives" if survives else "notice it")
            write(mutant)
            print(f"{mutant.name}: the unit tests {'let it pass' if survives else 'notice it'}", flush=True)
        if mutant.run is None:
            return run_tests([mutant.test], source).returncode == 1
        if not anew and found_near(mutant, source) is not None:
            return True
        found = hunted(seeds, profiles, source)
        if found is None:
            print(f"{mutant.name}: survived {seeds} runs", flush=True)
            return False
        run, rules = found
        write(replace(mutant, run=run, rules=rules))
        print(f"{mutant.name}: {run} breaks {', '.join(rules)}", flush=True)
        return True


def found_near(mutant: Mutant, source: Path) -> Run | None:
    """Return the recorded run, or one of a few like it, that breaks what the mutant is known to break."""
    assert mutant.run is not None
    run = mutant.run
    arguments = ["near", str(run.seed), run.profile, str(run.minutes), *mutant.rules]
    found = _hunt(arguments, source)
    return found[0] if found is not None else None


def hunted(seeds: int, profiles: list[str], source: Path) -> tuple[Run, tuple[str, ...]] | None:
    """Return the first run that breaks a promise on a copy of src/, and the promises."""
    return _hunt([str(seeds), *profiles], source)


def _hunt(arguments: list[str], source: Path) -> tuple[Run, tuple[str, ...]] | None:
    try:
        done = run_module("tests.mutants.hunt", arguments, source, HUNT_S_MAX)
    except subprocess.TimeoutExpired:
        return None  # it hangs: that is no proof of what it breaks
    if done.returncode != 1 or not done.stdout:
        return None
    found = json.loads(done.stdout.splitlines()[-1])
    return Run(found["seed"], found["profile"], found["minutes"]), tuple(found["rules"])


if __name__ == "__main__":
    sys.exit(main())
