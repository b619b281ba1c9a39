"""The tree as these tests see it: its files, and its modules parsed once."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "chronos"


@dataclass(frozen=True)
class Module:
    """One Python file. `path` is relative to the package, with slashes."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parse(self.text)

    def dotted(self, node: ast.AST) -> str:
        """Return what an expression like `_time.monotonic` refers to, or "" when it is not a plain name."""
        if isinstance(node, ast.Name):
            return _imported(self).get(node.id, "")
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""


@cache
def _parse(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def _imported(module: Module) -> dict[str, str]:
    """Return local name → what it stands for, dotted: `{"_time": "time", "pause": "time.sleep"}`."""
    names: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


@cache
def modules() -> list[Module]:
    """Return every module of the package, by path."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return [Module(path.relative_to(PACKAGE).as_posix(), path.read_text()) for path in paths]


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@cache
def files() -> list[Path]:
    """Return every file that is, or could be, in the repository; what git ignores is not."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted({ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()})
