"""What is said about an expression that is wrong: where, why, and what to write instead."""

from __future__ import annotations

import re
from typing import Final

from chronos.errors import ScheduleInvalid

_SHOWN_MAX: Final = 60
_FULL_NAME = re.compile(
    r"(JAN|FEB|MAR|APR|JUN|JUL|AUG|SEP|OCT|NOV|DEC)[A-Z]*[EYHLTR]|(SUN|MON|TUE|WED|THU|FRI|SAT)[A-Z]*DAYS?"
)


def shown(text: str) -> str:
    """Return `text` as it can stand in a message: short, on one line, every character visible."""
    short = text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
    return visible(short)


def visible(text: str) -> str:
    """Return `text` with every control character and the like written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def wrong_field(label: str, allowed: str, word: str, token: str, why: str) -> ScheduleInvalid:
    """Return the refusal of one field.

    Args:
        word: The whole field as it was typed.
        token: The part of it that is wrong, as it was typed; empty when something is missing.
    """
    at = "" if token in ("", word) else f" at `{shown(token)}`"
    return ScheduleInvalid(
        f"The {label} field `{shown(word)}` is wrong{at}: {why}. Allowed: {allowed}.",
        field=label,
        token=shown(token),
        allowed=allowed,
    )


def wrong_count(text: str, words: list[str], macros: list[str]) -> ScheduleInvalid:
    """Return the refusal of an expression that has neither five nor six fields."""
    return ScheduleInvalid(
        f"`{shown(text)}` is not a schedule: a cron expression has 5 fields (minute hour day-of-month month "
        f"day-of-week), or 6 with seconds first; {_why_count(words)}. `@every 5m`, `@at 2027-01-01T09:00:00Z` and "
        f"{', '.join(f'`{macro}`' for macro in macros)} work too.",
        field="expression",
        token=shown(text),
        allowed="5 or 6 fields",
    )


def why_not_a_number(item: str, *, named: bool) -> str:
    """Return why an item is neither a number nor, where a field has names, a name; with the likely remedy."""
    if not item:
        return "something is missing beside a comma"
    what = "it is neither a number nor a name of this field" if named else "it is not a number"
    remedy = next((remedy for pattern, remedy in _REMEDIES if pattern.search(item)), "")
    full = _FULL_NAME.fullmatch(item) if named else None
    if full:
        remedy = f"names have three letters, here `{full[1] or full[2]}`"
    return f"{what}; {remedy}" if remedy else what


# The first that fits is told.
_REMEDIES: Final = [
    (re.compile(r"^/"), "before `/` stands `*` or where to begin, for example `*/5`"),
    (re.compile("['\"`]"), "leave out the quotes"),
    (re.compile(r"\.\.|[\u2010-\u2015\u2212]"), "a range is written with `-`, for example `1-5`"),
    (re.compile(r"^\d+:\d+$"), "minute and hour have a field each: 09:30 is `30 9 * * *`"),
    (re.compile(r"[^\x00-\x7f]"), "only the digits 0 to 9 and ASCII letters count"),
    (re.compile(r"^W$|-\d+W$"), "`W` follows one day, for example `15W`; `LW` is the last workday"),
    (re.compile(r"^L\d$"), "the weekday comes first: `5L` is the last Friday"),
    (re.compile("#"), "write the weekday and which of the month, for example `1#2`"),
    (re.compile(r"^(\d+)?-(\d+)?-|\*-|-\*"), "a range has one number on each side of `-`"),
    (re.compile(r"^[+-]"), "numbers have no sign"),
]


def _why_count(words: list[str]) -> str:
    count = len(words)
    if any(re.search(r"^[-,/]|[-,/]$", word) for word in words):
        return f"this has {count}; blanks part fields, so write `MON-FRI` and `1,15` without any"
    return "a year field is not supported" if count == 7 else f"this has {count}"
