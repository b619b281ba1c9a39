"""The proleptic Gregorian calendar as tables, for the hot path.

A *wall second* is local time as a number: seconds since 1969-01-01 00:00 on the wall. The year
of margin before the epoch keeps every index positive in zones west of Greenwich. One byte a day
answers "which day of the month" and "which kind of month"; arithmetic would cost ten times that.
"""

from __future__ import annotations

from array import array
from datetime import UTC, datetime
from typing import Final

DAY_S: Final = 86_400
WALL_SHIFT_S: Final = 365 * DAY_S  # wall second = epoch second + zone offset + this
FIRST_YEAR: Final = 1969
END_YEAR: Final = 2500
END_S: Final = int(datetime(END_YEAR, 1, 1, tzinfo=UTC).timestamp())  # no instant at or after this
SEARCH_MONTHS: Final = 50 * 12  # a search that finds nothing in fifty years gives up

# 12 months x 7 weekdays of the 1st, and leap Februaries behind them.
KINDS: Final = 13 * 7

LENGTHS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 29)  # the last is a leap February

_kind_of_month = bytearray()
_kind_of_day = bytearray()
_place_of_day = bytearray()
_month_of_day = array("H")
_first_day: list[int] = []


def _fill() -> None:
    day, weekday = 0, 3  # 1969-01-01 was a Wednesday
    for year in range(FIRST_YEAR, END_YEAR + 52):
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        for month in range(12):
            row = 12 if leap and month == 1 else month
            length = LENGTHS[row]
            kind = row * 7 + weekday
            _month_of_day.extend(array("H", [len(_first_day)]) * length)
            _first_day.append(day)
            _kind_of_month.append(kind)
            _kind_of_day.extend(bytes([kind]) * length)
            _place_of_day.extend(_PLACES[:length])
            day, weekday = day + length, (weekday + length) % 7


_PLACES = bytes(range(31))
_fill()

KIND_OF_MONTH: Final = bytes(_kind_of_month)  # by month number, 0 = January 1969
KIND_OF_DAY: Final = bytes(_kind_of_day)  # by wall day, 0 = 1969-01-01
PLACE_OF_DAY: Final = bytes(_place_of_day)  # day of the month, counted from 0
MONTH_OF_DAY: Final = _month_of_day
FIRST_DAY: Final = tuple(_first_day)


def shape_of(kind: int) -> tuple[int, int, int]:
    """Return (month 1..12, length in days, weekday of the 1st with 0 = Sunday) of a kind of month."""
    row, weekday = divmod(kind, 7)
    return (2 if row == 12 else row + 1), LENGTHS[row], weekday
