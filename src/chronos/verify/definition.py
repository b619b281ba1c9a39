"""What one revision of a job owes between two instants: what runs, and what its calendar leaves out."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from chronos.verify.calendars import Calendar, Rules, between
from chronos.verify.fields import NotUnderstood
from chronos.verify.schedules import Options, instants, split
from chronos.verify.zones import DAY_S, Zones

_STEPS = {"next_business_day": 1, "previous_business_day": -1}
_FOREVER_S = 1 << 39


class Owed(NamedTuple):
    """Instants in seconds, ascending: those that run, and those that a calendar leaves out. None is in both."""

    runs: list[int]
    left_out: list[int]


class Definition:
    """The part of a job's spec that says when it is due.

    Args:
        spec: As an export has it: what has its default is left out.
        anchor_s: What `@every` counts from.
    """

    def __init__(self, spec: dict[str, Any], anchor_s: int) -> None:
        dst = spec.get("dst", {})
        self.schedules: list[str] = spec.get("schedules", [])
        self.calendar: str | None = spec.get("calendar")
        self.namespace: str = spec.get("namespace", "default")
        self.shift: str = spec.get("shift", "none")
        self.options = Options(
            timezone=spec.get("timezone", "UTC"),
            gap=dst.get("gap", "after"),
            overlap=dst.get("overlap", "first"),
            hash_key=f"{self.namespace}/{spec['name']}",
            anchor_s=anchor_s,
        )
        self.start_s = _instant(spec["start_at"]) if spec.get("start_at") else 0
        self.end_s = _instant(spec["end_at"]) if spec.get("end_at") else _FOREVER_S

    def owed(self, a: int, b: int, zones: Zones, rules: Rules | None = None) -> Owed:
        """Return what is owed at instants t with `a` < t <= `b`.

        Args:
            rules: The calendar's document, when the definition names one; None when there is none of that name, and
                then nothing is owed.

        Raises:
            NotUnderstood: The definition says something that this evaluator does not know.
        """
        a, b = max(a, self.start_s - 1), min(b, self.end_s)
        if a >= b or (self.calendar is not None and rules is None):
            return Owed([], [])
        runs: set[int] = set()
        left_out: set[int] = set()
        for text in self.schedules:
            kept, dropped = self._of_one(text, a, b, zones, rules)
            runs.update(kept)
            left_out.update(dropped)
        return Owed(sorted(runs), sorted(left_out - runs))

    def _of_one(self, text: str, a: int, b: int, zones: Zones, rules: Rules | None) -> Owed:
        if rules is None:
            return Owed(instants(text, self.options, zones, a, b), [])
        calendar = rules.under(split(text, self.options.timezone)[1], zones)
        if self.shift == "none":
            planned = instants(text, self.options, zones, a, b)
            kept = [instant for instant in planned if calendar.lets_through(instant)]
            return Owed(kept, sorted(set(planned) - set(kept)))
        landed = self._landed(text, calendar, a, b, zones)
        dropped = [instant for instant in landed if calendar.is_blacked_out(instant)]
        return Owed(sorted(set(landed) - set(dropped)), dropped)

    def _landed(self, text: str, calendar: Calendar, a: int, b: int, zones: Zones) -> list[int]:
        """Return where runs are after they have been moved to business days."""
        step = _STEPS.get(self.shift)
        if step is None:
            raise NotUnderstood(f"nobody knows a shift {self.shift!r}")
        found: set[int] = set()
        first, last = ((at + calendar.zone.offset(at)) // DAY_S for at in (a + 1, b))
        for day in range(first - 1, last + 2):
            if calendar.is_business_day(day):
                for source in calendar.sources(day, step):
                    found.update(self._moved(text, calendar, source, day, zones))
        return between(sorted(found), a, b)

    def _moved(self, text: str, calendar: Calendar, source: int, day: int, zones: Zones) -> list[int]:
        low, high = calendar.first_instant(source), calendar.first_instant(source + 1)
        here = instants(text, self.options, zones, low - 1, high - 1)
        if source == day:
            return here
        walls = (instant + calendar.zone.offset(instant) + (day - source) * DAY_S for instant in here)
        return [calendar.zone.instants_of(wall, "after", "first")[0] for wall in walls]


def _instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
