"""The Dockerfile, read as a builder reads it."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word in capitals, and everything behind it on one line."""

    word: str
    rest: str

    @property
    def argv(self) -> list[str]:
        """What it runs, in the form that needs no shell.

        Raises:
            ValueError: It is in the other form.
        """
        found: list[str] = json.loads(self.rest)
        return found


@dataclass
class Stage:
    """What stands between one FROM and the next."""

    base: str
    name: str = ""
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, word: str) -> list[Instruction]:
        return [one for one in self.instructions if one.word == word]

    def last(self, word: str) -> Instruction:
        return self.all(word)[-1]

    def environment(self) -> dict[str, str]:
        """Return what ENV sets."""
        pairs = [pair for one in self.all("ENV") for pair in shlex.split(one.rest)]
        return dict(pair.split("=", 1) for pair in pairs)


def stages(dockerfile: Path) -> list[Stage]:
    """Return the stages of a Dockerfile, in order."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name))
        elif word and found:
            found[-1].instructions.append(Instruction(word.upper(), rest.strip()))
    return found
