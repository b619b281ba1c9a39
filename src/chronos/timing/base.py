"""What every schedule can say: its instants, and itself in words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

from chronos.timing.zone import Gap, OverlapTime

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_from_epoch = datetime.fromtimestamp


class DstNote(Struct, frozen=True, kw_only=True):
    """What one change of the clocks does to a schedule.

    Attributes:
        at: The instant of the change.
        kind: `gap` when wall times are left out, `overlap` when they happen twice.
        wall_from, wall_to: The wall times `[from, to)` left out or repeated, without an offset.
        affected: Whether the schedule would have run otherwise.
        effect: What happens, as a sentence.
        coalesced_wall_times: The wall times (at most 60) whose runs become the one at `at`.
    """

    at: datetime
    kind: Literal["gap", "overlap"]
    wall_from: datetime
    wall_to: datetime
    affected: bool
    effect: str
    coalesced_wall_times: tuple[str, ...] = ()


class Schedule(ABC):
    """A set of instants in whole seconds, from 1970 up to the year 2500. Immutable and shared.

    The methods in integer epoch seconds are the hot path; those in aware UTC datetimes are for
    the edges. Both answer alike.
    """

    __slots__ = ("__weakref__", "gap", "overlap", "text", "timezone")

    def __init__(self, text: str, timezone: str, gap: Gap, overlap: OverlapTime) -> None:
        self.text = text
        self.timezone = timezone
        self.gap = gap
        self.overlap = overlap

    @property
    def is_one_shot(self) -> bool:
        """Whether it fires once and never again (`@at`)."""
        return False

    @abstractmethod
    def next_s(self, after: int) -> int | None:
        """Return the first instant strictly after `after`, or None if there is none in fifty years."""

    @abstractmethod
    def prev_s(self, before: int) -> int | None:
        """Return the last instant strictly before `before`, or None if there is none in fifty years."""

    @abstractmethod
    def count_s(self, a: int, b: int) -> int:
        """Return how many instants t have `a` < t <= `b`, without visiting each of them."""

    def mask_s(self, start: int, seconds: int) -> int:
        """Return the instants of a stretch as bits: bit i says that `start` + i is one, for 0 <= i < `seconds`.

        Masks can be united and counted without visiting instants; ask for a day at most.
        """
        return sum(1 << (instant - start) for instant in self.between_s(start - 1, start + seconds - 1))

    @abstractmethod
    def describe(self) -> str:
        """Return the schedule in English words, with its time zone."""

    def notes(self, after: datetime, transitions: int = 5) -> list[DstNote]:
        """Return what the next changes of the clocks do to this schedule, ascending."""
        return []

    def between_s(self, a: int, b: int) -> Iterator[int]:
        """Yield the instants t with `a` < t <= `b`, ascending."""
        instant = self.next_s(a)
        while instant is not None and instant <= b:
            yield instant
            instant = self.next_s(instant)

    def period_hint_s(self, at: int) -> int:
        """Return the seconds between the next two instants after `at`; 0 when there are not two."""
        first = self.next_s(at)
        second = None if first is None else self.next_s(first)
        return 0 if first is None or second is None else second - first

    # Instants are whole seconds: `t > after` is `t > floor(after)`, `t < before` is `t < ceil(before)`.
    # In whole microseconds, which are exact and quicker than the float of `timestamp()`.

    def next(self, after: datetime) -> datetime | None:
        """Return the first instant strictly after an aware datetime, in UTC, or None if there is none."""
        assert after.tzinfo is not None, "an instant needs a time zone"
        instant = self.next_s((after - _EPOCH) // _SECOND)
        return None if instant is None else _from_epoch(instant, UTC)

    def prev(self, before: datetime) -> datetime | None:
        """Return the last instant strictly before an aware datetime, in UTC, or None if there is none."""
        assert before.tzinfo is not None, "an instant needs a time zone"
        instant = self.prev_s(-((_EPOCH - before) // _SECOND))
        return None if instant is None else _from_epoch(instant, UTC)

    def between(self, a: datetime, b: datetime) -> Iterator[datetime]:
        """Yield the instants t with `a` < t <= `b`, ascending, in UTC."""
        assert a.tzinfo is not None, "an instant needs a time zone"
        assert b.tzinfo is not None, "an instant needs a time zone"
        for instant in self.between_s((a - _EPOCH) // _SECOND, (b - _EPOCH) // _SECOND):
            yield _from_epoch(instant, UTC)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.text!r} {self.timezone}>"
