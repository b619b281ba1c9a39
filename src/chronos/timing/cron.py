"""Cron expressions: from text to bitmasks.

Five fields (minute hour day-of-month month day-of-week), or six with seconds first. A parsed
expression knows nothing of time zones; `recurrence` puts it on the clock.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from chronos.errors import ScheduleInvalid
from chronos.timing.days import DaySpec
from chronos.timing.refusal import why_not_a_number, wrong_count, wrong_field

LIST_MAX: Final = 128
MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class Field(Enum):
    """A field of an expression: its name, lowest and highest number, the range of `H`, its names."""

    SECOND = ("second", 0, 59, (0, 59), "")
    MINUTE = ("minute", 0, 59, (0, 59), "")
    HOUR = ("hour", 0, 23, (0, 23), "")
    DAY = ("day-of-month", 1, 31, (1, 28), "")  # H stays where every month has it
    MONTH = ("month", 1, 12, (1, 12), "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")
    WEEKDAY = ("day-of-week", 0, 7, (0, 6), "SUN MON TUE WED THU FRI SAT")

    def __init__(self, label: str, low: int, high: int, hashed: tuple[int, int], names: str) -> None:
        self.label = label
        self.low = low
        self.high = high
        self.hashed = hashed
        self.numbers = {name: low + i for i, name in enumerate(names.split())}

    @property
    def allowed(self) -> str:
        """What may stand here, in words."""
        text = f"{self.low}-{self.high}"
        if self.numbers:
            names = list(self.numbers)
            text += f", {names[0]}-{names[-1]}"
        text += ", `*`, `a-b`, `/step`, lists with `,`, `H`"
        extras = {Field.DAY: ", `L`, `L-n`, `LW`, `nW`", Field.WEEKDAY: ", `nL`, `n#1`-`n#5`"}
        return text + extras.get(self, "")


class CronFields(NamedTuple):
    """What an expression matches.

    Bit i of `seconds` stands for second i of the minute, bit i of `minutes` for minute i of the
    day. `wild` says that the minute or the hour field begins with `*`: such an expression follows
    real time through a change of the clocks, any other follows the wall.
    """

    seconds: int
    minutes: int
    days: DaySpec
    wild: bool


class _Bad(Exception):
    def __init__(self, token: str, why: str) -> None:
        self.token = token
        self.why = why


@lru_cache(maxsize=4096)  # the same expression in many zones shares its masks, which keeps the hot path in cache
def parse_cron(text: str, hash_key: str = "") -> CronFields:
    """Return what the five or six fields of `text` match.

    Args:
        hash_key: What `H` is a hash of; the same key gives the same numbers for ever.

    Raises:
        ScheduleInvalid: `facts` has `field`, `token` and `allowed`.
    """
    words = text.split()
    if len(words) not in (5, 6):
        raise wrong_count(text, words, list(MACROS))
    seconds, minute, hour, day, month, weekday = words if len(words) == 6 else ["0", *words]
    hours = _mask(Field.HOUR, hour, hash_key)
    minutes_of_hour = _mask(Field.MINUTE, minute, hash_key)
    minutes = sum(minutes_of_hour << 60 * h for h in range(24) if hours >> h & 1)
    return CronFields(
        seconds=_mask(Field.SECOND, seconds, hash_key),
        minutes=minutes,
        days=_days(day, month, weekday, hash_key),
        wild=_starred(minute) or _starred(hour),
    )


def has_hash(text: str) -> bool:
    """Say whether an `H` in `text` makes its meaning depend on the hash key."""
    return not text.startswith("@") and "H" in _unnamed(text.upper())


def _unnamed(text: str) -> str:
    return text.replace("THU", "")  # the one name with an H


def _starred(word: str) -> bool:
    return word[0] in "*?"


def _days(day: str, month: str, weekday: str, hash_key: str) -> DaySpec:
    specials = _Specials()
    dates = _mask(Field.DAY, day, hash_key, specials)
    weekdays = _mask(Field.WEEKDAY, weekday, hash_key, specials)
    return DaySpec(
        months=_mask(Field.MONTH, month, hash_key),
        dates=dates >> 1,
        weekdays=(weekdays | weekdays >> 7) & 0x7F,
        # Cronie's rule: both fields must match when one of them begins with a star, else either.
        either=not (_starred(day) or _starred(weekday)),
        before_last=specials.before_last,
        nearest=specials.nearest,
        last_workday=specials.last_workday,
        last_weekdays=specials.last_weekdays,
        nth=tuple(specials.nth),
    )


class _Specials:
    """What a day field says that no fixed bit can say."""

    def __init__(self) -> None:
        self.before_last = 0  # bit n: n days before the last of the month
        self.nearest = 0  # bit n: the workday nearest to day n + 1
        self.last_workday = False
        self.last_weekdays = 0
        self.nth = [0, 0, 0, 0, 0]

    def take(self, field: Field, item: str) -> bool:
        """Note `item` if it is one of ours, and say so."""
        return self._take_day(item) if field is Field.DAY else self._take_weekday(item)

    def _take_day(self, item: str) -> bool:
        if item == "LW":
            self.last_workday = True
        elif item == "L":
            self.before_last |= 1
        elif match := re.fullmatch(r"L-([0-9]{1,2})", item):
            self.before_last |= 1 << _within(item, int(match[1]), 1, 30)
        elif match := re.fullmatch(r"([0-9]{1,2})W", item):
            self.nearest |= 1 << (_number(Field.DAY, match[1], item) - 1)
        else:
            return False
        return True

    def _take_weekday(self, item: str) -> bool:
        if item == "L":
            raise _Bad(item, "say which weekday, for example `5L` for the last Friday of the month")
        if match := re.fullmatch(r"([0-9A-Z]{1,3})L", item):
            self.last_weekdays |= 1 << _number(Field.WEEKDAY, match[1], item) % 7
        elif match := re.fullmatch(r"([0-9A-Z]{1,3})#([0-9]+)", item):
            weekday = _number(Field.WEEKDAY, match[1], item) % 7
            self.nth[_within(item, int(match[2][:4]), 1, 5) - 1] |= 1 << weekday
        else:
            return False
        return True


def _mask(field: Field, word: str, hash_key: str, specials: _Specials | None = None) -> int:
    items = word.upper().split(",")
    try:
        if len(items) > LIST_MAX:
            raise _Bad(word[:20] + "…", f"a list has at most {LIST_MAX} items")
        mask = 0
        for item in items:
            if specials is None or not specials.take(field, item):
                mask |= _item(field, item, hash_key)
    except _Bad as bad:
        raise _wrong_field(field, word, bad) from None
    return mask


def _wrong_field(field: Field, word: str, bad: _Bad) -> ScheduleInvalid:
    at = word.upper().find(bad.token)
    token = word[at : at + len(bad.token)] if at >= 0 else bad.token  # as it was typed
    return wrong_field(field.label, field.allowed, word, token, bad.why)


def _item(field: Field, item: str, hash_key: str) -> int:
    body, slash, step_text = item.partition("/")
    step = _step(field, item, step_text) if slash else 1
    if body.startswith("H"):
        low, high = _hashed(field, body, hash_key, step if slash else 0)
    elif body in ("*", "?"):
        low, high = field.low, field.high
    elif "-" in body:
        low, high = _range(field, body)
    else:
        low = _number(field, body, item)
        high = field.high if slash else low
    return sum(1 << n for n in range(low, high + 1, step))


def _range(field: Field, body: str) -> tuple[int, int]:
    first, _, last = body.partition("-")
    if not first or not last:
        raise _Bad(body, "a range needs a number on both sides")
    low, high = _number(field, first, body), _number(field, last, body)
    if field is Field.WEEKDAY and high == 0 < low:
        high = 7  # FRI-SUN: the week may end on Sunday
    if low > high:
        raise _Bad(body, f"the range runs backwards; write `{_forwards(field, first, last)}`")
    return low, high


def _forwards(field: Field, first: str, last: str) -> str:
    """Return two ranges for one that runs over the end of a field, in the words that were used."""
    if field is Field.WEEKDAY and first in ("0", "7", "SUN"):
        return f"{first if first == 'SUN' else 0}-{last}"
    names = list(field.numbers) if first in field.numbers else []
    end, begin = (names[-1], names[0]) if names else (field.high, field.low)
    rest = f"{begin}-{last}" if last != str(begin) else last
    return f"{first}-{end},{rest}" if first != str(end) else f"{first},{rest}"


def _hashed(field: Field, body: str, hash_key: str, step: int) -> tuple[int, int]:
    """Return the range that `H`, `H(a-b)` or, with a step, `H/n` stands for."""
    low, high = field.hashed
    if body != "H":
        match = re.fullmatch(r"H\(([0-9A-Z]+-[0-9A-Z]+)\)", body)
        if not match:
            raise _Bad(body, "write `H`, `H(a-b)`, `H/n` or `H(a-b)/n`")
        low, high = _range(field, match[1])
    digest = blake2b(f"{hash_key}\0{field.label}".encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "big")
    if step:
        return low + number % min(step, high - low + 1), high
    chosen = low + number % (high - low + 1)
    return chosen, chosen


def _step(field: Field, item: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise _Bad(item, "the step after `/` must be a number, for example `*/5`")
    step = int(text)
    if not 1 <= step <= field.high:
        raise _Bad(item, f"the step must be between 1 and {field.high}")
    return step


def _number(field: Field, text: str, item: str) -> int:
    if text in field.numbers:
        return field.numbers[text]
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise _Bad(item or text, why_not_a_number(item, named=bool(field.numbers)))
    number = int(text)
    if not field.low <= number <= field.high:
        year = "; six fields begin with seconds, and there is no year field" if 1970 <= number < 2500 else ""
        raise _Bad(item, f"{number} is not between {field.low} and {field.high}{year}")
    return number


def _within(item: str, number: int, low: int, high: int) -> int:
    if not low <= number <= high:
        raise _Bad(item, f"{number} is not between {low} and {high}")
    return number
