"""The fenced blocks of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Fence:
    """One block.

    Attributes:
        page: Relative to the repository.
        line: Of its first line of text.
        kind: The first word after the backticks.
        info: The rest of them.
    """

    page: str
    line: int
    kind: str
    info: str
    text: str

    def option(self, name: str) -> str:
        """Return what stands behind `name=`; empty when it is not there."""
        found = re.search(rf"\b{name}=(\S+)", self.info)
        return found[1] if found else ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return every page with examples."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def fences() -> Iterator[Fence]:
    """Yield every block, page by page, in order."""
    for path in pages():
        text = path.read_text("utf-8")
        for found in _FENCE.finditer(text):
            kind, _, info = found["info"].partition(" ")
            line = text.count("\n", 0, found.start()) + 2
            yield Fence(str(path.relative_to(ROOT)), line, kind, info, found["text"])


def commands(text: str) -> list[str]:
    """Return the commands of a console example: what follows `$ `, lines that end in a backslash joined."""
    joined = text.replace("\\\n", " ")
    return [line.removeprefix("$ ").strip() for line in joined.splitlines() if line.startswith("$ ")]
