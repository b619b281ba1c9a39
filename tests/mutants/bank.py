"""The bank of mutants: bugs planted on purpose, each with the run that finds it.

A mutant is one file in `patches/`: what it is, and a patch of src/.

    Area: overlap
    Plants: a retry is let in beside another run of its job
    Breaks: I6
    Found-by: seed 3, profile standard, 2 minutes
    Unit-tests: survives

    --- src/chronos/…
    +++ src/chronos/…
    @@ …

`Found-by` may name a test instead (`test tests/…::test_…`) where the simulation does not reach; a run of a cluster says
how many nodes it has (`seed 3, profile network, 0.7 minutes, 3 nodes`). `Unit-tests` says whether tests/unit and
tests/conformance, without those that run the simulation, `notice it`, or it `survives` them: `discover --unit` tries
them and writes it down, and `discover --prove-unit` tries whether it is still so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.unit import module_of, unit_tests_of

ROOT = Path(__file__).resolve().parents[2]
PATCHES = Path(__file__).parent / "patches"
HEADERS = ("Area", "Plants", "Breaks", "Found-by", "Unit-tests")
UNIT = ("survives", "notice it")
RUN_S_MAX = 120
"""A bound on hanging, far above the few seconds that a run takes."""

_RUN = re.compile(r"seed (\d+), profile (\w+), ([\d.]+) minutes(?:, (\d) nodes)?")


class Stale(Exception):
    """A patch does not apply any more, because what it changes has changed."""


@dataclass(frozen=True)
class Run:
    """A run of the simulation."""

    seed: int
    profile: str
    minutes: float
    nodes: int = 1

    def __str__(self) -> str:
        together = f", {self.nodes} nodes" if self.nodes > 1 else ""
        return f"seed {self.seed}, profile {self.profile}, {self.minutes:g} minutes{together}"


@dataclass(frozen=True)
class Mutant:
    """One planted bug.

    Attributes:
        rules: The promises that its run breaks, one at least of which has to be among the violations found.
        run: The run that finds it; None when `test` does.
        unit: What the unit tests say of it: one of `UNIT`.
    """

    name: str
    area: str
    plants: str
    rules: tuple[str, ...]
    run: Run | None
    test: str
    unit: str
    patch: str

    @property
    def survives(self) -> bool:
        """Whether the unit tests let it pass."""
        return self.unit == "survives"

    @property
    def found_by(self) -> str:
        return str(self.run) if self.run is not None else f"test {self.test}"


def bank() -> list[Mutant]:
    """Return every mutant, by name."""
    return [read(path) for path in sorted(PATCHES.glob("*.patch"))]


def read(path: Path) -> Mutant:
    """Return the mutant in a file."""
    head, _, patch = path.read_text().partition("\n\n")
    said = dict(line.split(": ", 1) for line in head.splitlines())
    if tuple(said) != HEADERS:
        raise ValueError(f"{path.name}: it begins with the lines {', '.join(HEADERS)}, in this order")
    found = said["Found-by"]
    run = _RUN.fullmatch(found)
    if run is None and not found.startswith("test "):
        raise ValueError(f"{path.name}: Found-by is 'seed N, profile P, M minutes' or 'test PATH::NAME'")
    return Mutant(
        name=path.stem,
        area=said["Area"],
        plants=said["Plants"],
        rules=tuple(said["Breaks"].split(", ")),
        run=Run(int(run[1]), run[2], float(run[3]), int(run[4] or 1)) if run else None,
        test="" if run else found.removeprefix("test "),
        unit=said["Unit-tests"],
        patch=patch,
    )


def write(mutant: Mutant) -> None:
    """Keep a mutant in its file."""
    values = (
        mutant.area,
        mutant.plants,
        ", ".join(mutant.rules),
        mutant.found_by,
        mutant.unit,
    )
    head = "\n".join(f"{name}: {value}" for name, value in zip(HEADERS, values, strict=True))
    (PATCHES / f"{mutant.name}.patch").write_text(f"{head}\n\n{mutant.patch}")


def plant(mutant: Mutant, folder: Path) -> Path:
    """Copy src/ into `folder`, with the bug in it, and return the copy.

    Raises:
        Stale: The patch does not apply.
    """
    # With what is compiled, and the times that tell whether it still is: a start takes half as long.
    source = Path(shutil.copytree(ROOT / "src", folder / "src"))
    for name, text in planted(mutant).items():
        (folder / name).write_text(text)
    return source


def planted(mutant: Mutant) -> dict[str, str]:
    """Return the text with the bug in it of each file that the patch changes, by its path from the root.

    Raises:
        Stale: The patch does not apply.
    """
    texts = {}
    for name, hunks in _files(mutant.patch):
        text = (ROOT / name).read_text() if (ROOT / name).exists() else ""
        for before, after in hunks:
            if text.count(before) != 1:
                raise Stale(_how_to_renew(mutant, name, before, text.count(before)))
            text = text.replace(before, after)
        texts[name] = text
    return texts


def _files(patch: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return by file what each hunk replaces by what. Line numbers do not count: files move on."""
    files: list[tuple[str, list[tuple[str, str]]]] = []
    for line in patch.splitlines(keepends=True):
        if line.startswith("+++ "):
            files.append((line[4:].strip(), []))
        elif line.startswith("@@"):
            files[-1][1].append(("", ""))
        elif files and files[-1][1] and line[0] in " -+":
            before, after = files[-1][1][-1]
            kept = line[1:]
            files[-1][1][-1] = (before + kept * (line[0] != "+"), after + kept * (line[0] != "-"))
    return files


def _how_to_renew(mutant: Mutant, name: str, before: str, times: int) -> str:
    return (
        f"The mutant {mutant.name!r} does not apply any more: {name} has these lines {times} times, and they should "
        f"be there once:\n\n{before}\nPlant the bug anew ({mutant.plants}): change {name} by hand, replace the patch "
        f"in tests/mutants/patches/{mutant.name}.patch by what `git diff --no-prefix src` says, undo the change, and "
        f"let `make mutants-discover ARGS={mutant.name}` find a run that breaks."
    )


def environment(source: Path) -> dict[str, str]:
    """Return an environment in which Python finds the copy before anything installed."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(source), str(ROOT))), "CHRONOS_PROOF": ""}


def run_module(name: str, arguments: list[str], source: Path, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a module on a copy of src/; raises `subprocess.TimeoutExpired`."""
    return subprocess.run(
        [sys.executable, "-m", name, *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env=environment(source),
        cwd=source.parent,
    )


def passes_unit_tests(mutant: Mutant, source: Path) -> bool:
    """Whether the unit tests let a mutant pass that is planted in `source`."""
    tests = unit_tests_of(module_of(mutant.patch))
    return run_tests(tests, source, "-n", "1").returncode == 0


def run_tests(paths: list[str], source: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run tests on a copy of src/."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *more, *paths],
        capture_output=True,
        text=True,
        timeout=60 * RUN_S_MAX,
        check=False,
        env=environment(source),
        cwd=ROOT,
    )
