"""Which unit tests could notice a planted bug: those that import, by whatever way, the module it is in.

A test that never loads a module cannot notice what is wrong with it, so running the others says nothing and takes
minutes. Only imports that are written down are followed; plugins, which are imported by name, hold no planted bugs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("tests/unit", "tests/conformance")
SIMULATED = ("tests/unit/testing", "tests/unit/verify/test_tampering.py")
"""What runs the simulation is no unit test, wherever it lies."""


def unit_tests_of(module: str) -> list[str]:
    """Return the paths of the tests that load `module`, as pytest takes them."""
    files = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("test_*.py")))
    names = {path: str(path.relative_to(ROOT)) for path in files}
    return [name for path, name in names.items() if not name.startswith(SIMULATED) and module in _loaded_by(path)]


def module_of(patch: str) -> str:
    """Return the dotted name of the module that a patch changes."""
    [line] = [line for line in patch.splitlines() if line.startswith("+++ ")]
    return line.removeprefix("+++ src/").removesuffix(".py").replace("/", ".")


def _loaded_by(path: Path) -> set[str]:
    beside = [folder / "conftest.py" for folder in path.parents if folder.is_relative_to(ROOT)]
    loaded: set[str] = set()
    for file in [path, *beside]:
        if file.exists():
            loaded |= _closure(file)
    return loaded


def _closure(path: Path) -> set[str]:
    seen: set[str] = set()
    left = [*_imported_by(path)]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += _imported_by(_modules()[name])
    return seen


@cache
def _imported_by(path: Path) -> frozenset[str]:
    """Return our own modules that a file imports, with the packages they are in."""
    return frozenset(known for name in _named(path) for known in _with_packages(name) if known in _modules())


def _named(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _with_packages(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


@cache
def _modules() -> dict[str, Path]:
    """Return every module of ours by its dotted name."""
    paths = {path: path.relative_to(ROOT / "src") for path in (ROOT / "src" / "chronos").rglob("*.py")}
    paths |= {path: path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py")}
    return {".".join(name.with_suffix("").parts).removesuffix(".__init__"): path for path, name in paths.items()}
