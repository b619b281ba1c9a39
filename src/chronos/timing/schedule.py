"""From the text of a schedule to its instants: the door of this room."""

from __future__ import annotations

import re
from collections import deque
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from chronos.errors import DurationInvalid, ScheduleInvalid, ScheduleNeverFires
from chronos.timing.base import DstNote, Schedule
from chronos.timing.civil import END_S, END_YEAR
from chronos.timing.cron import MACROS, has_hash, parse_cron
from chronos.timing.duration import SECOND_US, format_duration, parse_duration
from chronos.timing.masks import ladder
from chronos.timing.recurrence import CronSchedule
from chronos.timing.refusal import shown, visible
from chronos.timing.zone import Gap, OverlapTime, zone

__all__ = [
    "AtSchedule",
    "CronSchedule",
    "DstNote",
    "EverySchedule",
    "Gap",
    "OverlapTime",
    "Schedule",
    "parse_schedule",
]

TEXT_MAX: Final = 512
_HASH_KEY_MAX: Final = 1024
_ZONE_PREFIX = re.compile(r"(?:CRON_)?TZ=(\S*)\s+(.+)")
_ZONE_ALONE = re.compile(r"(?:CRON_)?TZ=\S*")
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.0+)?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# Whether an expression ever fires is judged over fifty years from a fixed day, so that every node
# and every replay judges alike.
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_JUDGED_FROM_S: Final = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())

E = TypeVar("E", bound=StrEnum)


class EverySchedule(Schedule):
    """`@every`: one instant each `interval_s` seconds after `anchor_s`. Zones have no part in it."""

    __slots__ = ("anchor_s", "interval_s")

    def __init__(self, text: str, timezone: str, interval_s: int, anchor_s: int) -> None:
        super().__init__(text, timezone, Gap.AFTER, OverlapTime.FIRST)
        self.interval_s = interval_s
        self.anchor_s = anchor_s

    def next_s(self, after: int) -> int | None:
        steps = max(1, (after - self.anchor_s) // self.interval_s + 1)
        instant = self.anchor_s + steps * self.interval_s
        return instant if instant < END_S else None

    def prev_s(self, before: int) -> int | None:
        steps = (min(before, END_S) - 1 - self.anchor_s) // self.interval_s
        return self.anchor_s + steps * self.interval_s if steps >= 1 else None

    def count_s(self, a: int, b: int) -> int:
        def up_to(instant: int) -> int:
            return max(0, (min(instant, END_S - 1) - self.anchor_s) // self.interval_s)

        return max(0, up_to(b) - up_to(a))

    def mask_s(self, start: int, seconds: int) -> int:
        first = self.next_s(start - 1)
        seconds = min(seconds, END_S - start)
        if first is None or first >= start + seconds:
            return 0
        return ladder(self.interval_s, start + seconds - first) << (first - start)

    def describe(self) -> str:
        every = format_duration(self.interval_s * SECOND_US)
        return f"Every {every}, counted from {datetime.fromtimestamp(self.anchor_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


class AtSchedule(Schedule):
    """`@at`: one instant, once."""

    __slots__ = ("instant_s",)

    def __init__(self, text: str, timezone: str, instant_s: int, gap: Gap, overlap: OverlapTime) -> None:
        super().__init__(text, timezone, gap, overlap)
        self.instant_s = instant_s

    @property
    def is_one_shot(self) -> bool:
        return True

    def next_s(self, after: int) -> int | None:
        return self.instant_s if after < self.instant_s else None

    def prev_s(self, before: int) -> int | None:
        return self.instant_s if self.instant_s < before else None

    def count_s(self, a: int, b: int) -> int:
        return int(a < self.instant_s <= b)

    def describe(self) -> str:
        return f"Once, at {datetime.fromtimestamp(self.instant_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


class _Options(NamedTuple):
    timezone: str
    gap: Gap
    overlap: OverlapTime
    hash_key: str
    anchor_s: int


class _Key(NamedTuple):
    text: str
    options: _Options


_shared: WeakValueDictionary[_Key, Schedule] = WeakValueDictionary()
# The same by what the caller said, for texts that are canonical and ask for neither hash nor anchor:
# a server with a million jobs starts seconds earlier.
_asked: WeakValueDictionary[tuple[str, str, str, str], Schedule] = WeakValueDictionary()
# The last ones made stay, so that a job that is checked, written, planned and listed is parsed once.
_last: deque[Schedule] = deque(maxlen=4_096)


def parse_schedule(
    text: str,
    *,
    timezone: str = "UTC",
    gap: Gap | str = Gap.AFTER,
    overlap: OverlapTime | str = OverlapTime.FIRST,
    hash_key: str = "",
    anchor: int | None = None,
) -> Schedule:
    """Return the schedule that `text` states; equal questions get the same object.

    Args:
        text: A cron expression, a macro such as `@daily`, `@every 1h30m` or `@at INSTANT`, all of
            which may follow a prefix `TZ=Europe/Paris `, which beats `timezone`.
        timezone: The IANA zone whose wall the expression is read on.
        gap: What becomes of wall times that do not exist.
        overlap: Which instant is meant by wall times that exist twice.
        hash_key: What `H` is a hash of, normally namespace and name of the job.
        anchor: Epoch second from which `@every` counts; its first run is one interval later.

    Raises:
        ScheduleInvalid: `facts` has `field`, `token` and `allowed`.
        ScheduleNeverFires: There is no such instant in fifty years.
        TimezoneUnknown: `facts["suggestions"]` has the nearest names.
    """
    asked = (text, timezone, gap, overlap)
    known = _asked.get(asked)
    if known is not None:
        return known
    if len(text) > TEXT_MAX:
        raise _invalid(text[:40] + "…", f"it is longer than {TEXT_MAX} characters")
    body, named_zone = _without_zone(" ".join(text.split()))
    options = _Options(
        timezone=named_zone or timezone,
        gap=_choice(Gap, gap, "gap"),
        overlap=_choice(OverlapTime, overlap, "overlap"),
        hash_key=hash_key[:_HASH_KEY_MAX] if has_hash(body) else "",
        anchor_s=anchor or 0 if body.startswith("@every") else 0,
    )
    key = _Key(body, options)
    known = _shared.get(key)
    if known is None:
        known = _shared[key] = _parse(body, options)
        _last.append(known)
    if body == text and not has_hash(body) and not body.startswith("@every"):
        _asked[asked] = known
    return known


def _parse(body: str, options: _Options) -> Schedule:
    on = zone(options.timezone)
    if not body:
        raise _invalid(body, "it is empty")
    if not body.startswith("@"):
        return _cron(body, body, options)
    word, _, rest = body.partition(" ")
    if word in MACROS and not rest:
        return _cron(body, MACROS[word], options)
    if word == "@every":
        return EverySchedule(body, on.name, _interval_s(rest), options.anchor_s)
    if word == "@at":
        return AtSchedule(body, on.name, _instant_s(rest, options), options.gap, options.overlap)
    raise _unknown_word(body, word, rest)


def _cron(text: str, expression: str, options: _Options) -> CronSchedule:
    fields = parse_cron(expression, options.hash_key)
    if not fields.days.months or not fields.minutes or not fields.seconds:
        raise _never(text, options)
    on = zone(options.timezone)
    schedule = CronSchedule(text, expression, on, fields, options.gap, options.overlap, options.hash_key)
    if schedule.next_s(_JUDGED_FROM_S) is None:
        raise _never(text, options)
    return schedule


def _without_zone(text: str) -> tuple[str, str]:
    match = _ZONE_PREFIX.fullmatch(text)
    if match:
        return match[2], match[1] or "(empty)"
    if _ZONE_ALONE.fullmatch(text):
        raise _invalid(text, f"the schedule itself is missing; write for example `{text} 0 9 * * *`")
    return text, ""


def _interval_s(text: str) -> int:
    if not text:
        raise _invalid("@every", "it needs a duration, for example `@every 5m`", field="@every", allowed="a duration")
    try:
        interval_us = parse_duration(text)
    except DurationInvalid as bad:
        raise _invalid(f"@every {text}", str(bad), field="@every", allowed="a duration such as 1h30m") from None
    seconds, rest = divmod(interval_us, SECOND_US)
    if rest or not seconds:
        why = "the interval must be a whole number of seconds, at least one"
        raise _invalid(f"@every {text}", why, field="@every", allowed="1s to 10 years, in whole seconds")
    return seconds


def _instant_s(text: str, options: _Options) -> int:
    match = _INSTANT.fullmatch(text)
    allowed = "an instant such as 2027-01-01T09:00:00+01:00, in whole seconds"
    if not match:
        why = "it has no time of day; " if _DATE.fullmatch(text) else ""
        raise _invalid(f"@at {text}".strip(), f"{why}write {allowed}", field="@at", allowed=allowed)
    try:
        # Without an offset it is a time on the wall of the schedule's zone.
        stated = datetime.fromisoformat(f"{match[1]}T{match[2]}{(match[3] or 'Z').upper()}")
    except ValueError as bad:
        raise _invalid(f"@at {text}", f"{bad}; write {allowed}", field="@at", allowed=allowed) from None
    seconds = (stated - _EPOCH) // timedelta(seconds=1)
    instants = [seconds] if match[3] else _on_wall(seconds, options)
    if not instants:
        raise ScheduleNeverFires(
            f"`@at {text}` never fires: that time does not exist in {options.timezone}, and `gap` is `skip`.",
            token=text,
        )
    if not 0 <= instants[0] < END_S:
        raise _invalid(f"@at {text}", f"the year must be between 1970 and {END_YEAR - 1}", field="@at", allowed=allowed)
    return instants[0]


def _on_wall(wall_s: int, options: _Options) -> list[int]:
    if not 86_400 <= wall_s < END_S - 86_400:
        return [wall_s]
    return zone(options.timezone).instants_of(wall_s, options.gap, options.overlap)


def _choice(kind: type[E], value: str, name: str) -> E:
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(kind)
        raise ScheduleInvalid(
            f"`{name}` cannot be `{value[:40]}`: it is one of {allowed}.", field=name, token=value[:40], allowed=allowed
        ) from None


def _unknown_word(body: str, word: str, rest: str) -> ScheduleInvalid:
    if word == "@reboot":
        why = "`@reboot` has no meaning in a cluster, which never boots; use `@at`, or trigger the job"
        return _invalid(body, why)
    if word in MACROS:
        return _invalid(body, f"`{word}` stands alone, without `{rest}`")
    if word.startswith("@every"):
        return _invalid(body, "a blank stands after `@every`, for example `@every 5m`")
    words = [*MACROS, "@every", "@at"]
    near = get_close_matches(word.lower(), words, 1)
    hint = f"did you mean `{near[0]}`" if near else "there is no such word"
    return _invalid(body, f"{hint}; known are {', '.join(words)}")


def _never(text: str, options: _Options) -> ScheduleNeverFires:
    return ScheduleNeverFires(
        f"`{shown(text)}` never fires: no day and time in the next fifty years matches it in {options.timezone}.",
        token=text,
    )


def _invalid(text: str, why: str, field: str = "expression", allowed: str = "") -> ScheduleInvalid:
    facts = {"allowed": allowed} if allowed else {}
    text = shown(text)
    why = visible(why.rstrip("."))
    return ScheduleInvalid(f"`{text}` is not a schedule: {why}.", field=field, token=text, **facts)
