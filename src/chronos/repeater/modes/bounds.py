"""What numbers a mode accepts; every refusal says which flag, what it is, and what it may be."""

from __future__ import annotations

import math

from chronos.repeater.port import ModeInvalid
from chronos.timing.duration import DURATION_US_MAX, SECOND_US, format_duration

WAIT_S_MAX = DURATION_US_MAX / SECOND_US  # ten years, the longest duration that can be written
WAIT_S_DEFAULT_MAX = 60.0
ATTEMPTS_DEFAULT = 3
ATTEMPTS_MAX = 1_000_000_000


def shown_s(seconds: float) -> str:
    """Return seconds as a duration is written, to the microsecond."""
    return format_duration(round(seconds * SECOND_US)) if math.isfinite(seconds) else str(seconds)


def need_wait(field: str, seconds: float) -> float:
    """Return `seconds` if it is longer than 0s and at most ten years."""
    if not seconds > 0:
        raise ModeInvalid(field, f"must be longer than 0s; it is {shown_s(seconds)}")
    if seconds > WAIT_S_MAX:
        raise ModeInvalid(field, "must be at most ten years")
    return seconds


def need_at_least(field: str, seconds: float, floor_field: str, floor_s: float) -> float:
    """Return `seconds` if it is a wait and not shorter than another flag's."""
    need_wait(field, seconds)
    if seconds < floor_s:
        raise ModeInvalid(
            field, f"must not be shorter than --{floor_field}; it is {shown_s(seconds)}, that is {shown_s(floor_s)}"
        )
    return seconds


def need_range(min_s: float, max_s: float) -> None:
    """Refuse a shortest wait that is not shorter than the longest."""
    need_wait("min-interval", min_s)
    need_wait("max-interval", max_s)
    if min_s >= max_s:
        raise ModeInvalid(
            "min-interval", f"must be shorter than --max-interval; it is {shown_s(min_s)}, that is {shown_s(max_s)}"
        )


def need_inside(field: str, seconds: float, min_s: float, max_s: float) -> None:
    """Refuse a wait that is not between the shortest and the longest."""
    need_wait(field, seconds)
    if not min_s <= seconds <= max_s:
        raise ModeInvalid(
            field,
            f"must lie between --min-interval ({shown_s(min_s)}) and --max-interval ({shown_s(max_s)}); "
            f"it is {shown_s(seconds)}",
        )


def need_number(
    field: str,
    value: float,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """Return `value` if it is finite and within the bounds: `above` and `below` themselves are not allowed."""
    fits = (
        math.isfinite(value)
        and (above is None or value > above)
        and (least is None or value >= least)
        and (below is None or value < below)
        and (most is None or value <= most)
    )
    if not fits:
        raise ModeInvalid(field, f"must be {_said(above, least, below, most)}; it is {value:g}")
    return value


def _said(above: float | None, least: float | None, below: float | None, most: float | None) -> str:
    named = (("greater than", above), ("at least", least), ("less than", below), ("at most", most))
    return " and ".join(f"{word} {bound:g}" for word, bound in named if bound is not None)


def need_attempts(attempts: int) -> int:
    """Return `attempts`, the runs there may be in all, if there is one at least."""
    if not 1 <= attempts <= ATTEMPTS_MAX:
        raise ModeInvalid("attempts", f"must be between 1 and {ATTEMPTS_MAX}; it is {attempts}")
    return attempts
