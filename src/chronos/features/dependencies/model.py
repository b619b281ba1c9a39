"""What is remembered of a dependent job between its runs."""

from __future__ import annotations

from msgspec import Struct, field


class Result(Struct, frozen=True, kw_only=True):
    """How the newest run of one job depended on came out.

    Attributes:
        at_us: When it ended, microseconds since the epoch.
    """

    execution_id: str
    success: bool
    at_us: int


class Round(Struct, frozen=True, kw_only=True):
    """What the jobs depended on have come to since the dependent job last ran, by their ids."""

    results: dict[str, Result] = field(default_factory=dict)
