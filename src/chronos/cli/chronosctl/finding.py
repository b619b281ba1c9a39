"""What the doctor finds."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How bad it is."""

    GOOD = "ok"
    WARNING = "warning"
    BAD = "problem"


class Finding(NamedTuple):
    """One answer: what was found, and what to do when it is not good."""

    level: Level
    what: str
    advice: str = ""
