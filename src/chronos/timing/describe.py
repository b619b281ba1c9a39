"""Cron expressions in English words."""

from __future__ import annotations

from chronos.timing.cron import resolve_hashes


def describe_cron(expression: str, hash_key: str, timezone: str, *, either: bool) -> str:
    """Return `expression` in words, with its zone.

    Args:
        either: Whether a day matches when one of the two day fields does (else both must).
    """
    plain = resolve_hashes(expression, hash_key)
    words = None if _beyond_the_library(plain) else _library_words(plain)
    if words is None:
        words = _field_by_field(plain, either=either)
    elif not either:
        words = words.replace(", or ", ", but only ")
    return f"{words} ({timezone})"


def _beyond_the_library(plain: str) -> bool:
    """It reads one special of a day field, not lists of them."""
    day, weekday = plain.split()[-3], plain.split()[-1]
    return any("," in field and set(field) & set("LW#") for field in (day, weekday))


def _library_words(plain: str) -> str | None:
    # Late: the library takes longer to import than everything else in this room.
    from cron_descriptor import ExpressionDescriptor, FormatError, MissingFieldError, Options, WrongArgumentError

    options = Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"
    try:
        return str(ExpressionDescriptor(plain, options).get_full_description())
    except (FormatError, MissingFieldError, WrongArgumentError, ValueError, IndexError):
        return None


def _field_by_field(plain: str, *, either: bool) -> str:
    fields = plain.split()
    second, minute, hour, day, month, weekday = fields if len(fields) == 6 else ["0", *fields]
    days = f"day of month {day} {'or' if either else 'and'} day of week {weekday}"
    seconds = "" if second == "0" else f"second {second}, "
    return f"At {seconds}minute {minute}, hour {hour}, {days}, month {month}"
