"""`--until` in the forms in which people write a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from chronos.cli.rpr.until import until_at
from chronos.errors import Invalid


class At:
    """A clock that stands still."""

    def __init__(self, text: str) -> None:
        self._at = datetime.fromisoformat(text).timestamp()

    def time(self) -> float:
        return self._at

    def boottime(self) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def _in_paris() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Paris")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("now", "text", "instant"),
    [
        ("2027-01-31T12:00+01:00", "15:30", "2027-01-31T14:30+00:00"),
        ("2027-01-31T16:00+01:00", "15:30", "2027-02-01T14:30+00:00"),
        ("2027-03-27T16:00+01:00", "15:30", "2027-03-28T13:30+00:00"),  # the clocks go forward in between
        ("2027-01-31T12:00+01:00", "2027-02-01", "2027-01-31T23:00+00:00"),
        ("2027-01-31T12:00+01:00", "2027-02-01T09:00:30", "2027-02-01T08:00:30+00:00"),
        ("2027-01-31T12:00+01:00", "2027-02-01T09:00Z", "2027-02-01T09:00+00:00"),
    ],
)
def test_a_time_without_a_zone_is_local_and_one_without_a_date_is_the_next(now: str, text: str, instant: str) -> None:
    assert datetime.fromtimestamp(until_at(text, At(now)), UTC) == datetime.fromisoformat(instant)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "2027-13-01", "-", "2027-01-31T11:00"])
def test_no_time_and_a_time_that_has_passed_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"^--until: "):
        until_at(text, At("2027-01-31T12:00+01:00"))
