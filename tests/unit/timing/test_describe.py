"""Schedules in English words: what a user reads before trusting one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chronos.timing.schedule import parse_schedule

WORDS = [
    ("0-30 1-2 3-6 * * *", "Every second from second 0 through 30 of minutes 1 and 2, between 03:00 and 06:59"),
    ("5,7 5-6 * * * *", "At seconds 5 and 7 of minutes 5 and 6"),
    (
        "15 5-20 9-17 * * MON-FRI",
        "At second 15 of every minute from minute 5 through 20, between 09:00 and 17:59, Monday through Friday",
    ),
    ("*/7 * * * * *", "Every 7 seconds from second 0 through 56 of every minute"),
    ("*/10 */5 * * * *", "Every 10 seconds of minutes 0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, and 55"),
    ("* * * * *", "Every minute"),
    ("*/5 * * * *", "Every 5 minutes"),
    ("*/7 * * * *", "Every 7 minutes from minute 0 through 56"),
    ("5/20 * * * *", "At minutes 5, 25, and 45 past the hour"),
    ("0 * * * *", "Every hour"),
    ("30 * * * *", "Every hour, at minute 30"),
    ("0,30 * * * *", "Every 30 minutes"),
    ("*/15 9-17 * * MON-FRI", "Every 15 minutes, between 09:00 and 17:59, Monday through Friday"),
    ("0 9 * * *", "At 09:00"),
    ("30 9 * * MON-FRI", "At 09:30, Monday through Friday"),
    ("15 30 9 * * *", "At 09:30:15"),
    ("*/10 * * * * *", "Every 10 seconds"),
    ("*/10 30 9 * * *", "At 09:30:00, 09:30:10, 09:30:20, 09:30:30, 09:30:40, and 09:30:50"),
    ("0 0 * * 0", "At 00:00, only on Sunday"),
    ("0 0 * * 7", "At 00:00, only on Sunday"),
    ("0 0 * * SUN", "At 00:00, only on Sunday"),
    ("0 22 * * 1,3,5", "At 22:00, only on Monday, Wednesday, and Friday"),
    ("0 0 1 * *", "At 00:00, on day 1 of the month"),
    ("0 0 1,15 * *", "At 00:00, on days 1 and 15 of the month"),
    ("0 0 1-7 * *", "At 00:00, on days 1 through 7 of the month"),
    ("0 0 1-7 * 1", "At 00:00, on days 1 through 7 of the month, or on Monday"),
    ("0 0 13 * 5", "At 00:00, on day 13 of the month, or on Friday"),
    ("0 0 */2 * 5", "At 00:00, on every 2nd day from day 1 of the month, but only on Friday"),
    ("0 0 * * 5L", "At 00:00, on the last Friday of the month"),
    ("0 0 * * FRIL", "At 00:00, on the last Friday of the month"),
    ("0 0 * * MON#2", "At 00:00, on the second Monday of the month"),
    ("0 0 * * 1#2,3#4", "At 00:00, on the second Monday and the fourth Wednesday of the month"),
    ("0 0 L * *", "At 00:00, on the last day of the month"),
    ("0 0 L-3 * *", "At 00:00, on the day 3 days before the last of the month"),
    ("0 0 LW * *", "At 00:00, on the last workday of the month"),
    ("0 0 15W * *", "At 00:00, on the workday nearest to day 15 of the month"),
    ("0 0 1W,15W * *", "At 00:00, on the workday nearest to day 1 and the workday nearest to day 15 of the month"),
    ("0 0 1,L * *", "At 00:00, on day 1 and the last day of the month"),
    ("0 0 L 1,4,7,10 *", "At 00:00, on the last day of the month, only in January, April, July, and October"),
    ("0 0 1 1 *", "At 00:00, on day 1 of the month, only in January"),
    ("0 0 1 JAN,JUL *", "At 00:00, on day 1 of the month, only in January and July"),
    ("0 0 1 */3 *", "At 00:00, on day 1 of the month, only in January, April, July, and October"),
    ("0 0 29 2 *", "At 00:00, on day 29 of the month, only in February"),
    ("0 9-17 * * *", "Every hour from 09:00 through 17:00"),
    ("0 9-17/2 * * *", "At 09:00, 11:00, 13:00, 15:00, and 17:00"),
    ("0 */2 * * *", "Every 2 hours"),
    ("0 0-23 * * *", "Every hour from 00:00 through 23:00"),
    ("30 1,2 * * *", "At 01:30 and 02:30"),
    ("5,10,15,20 3 * * *", "At 03:05, 03:10, 03:15, and 03:20"),
    ("0 20/2 * * *", "At 20:00 and 22:00"),
    ("10-30/5 8 * * *", "At 08:10, 08:15, 08:20, 08:25, and 08:30"),
    ("*/30 1 * * *", "At 01:00 and 01:30"),
    ("* 2 * * *", "Every minute, between 02:00 and 02:59"),
    ("* 9-17 * * *", "Every minute, between 09:00 and 17:59"),
    ("0 0 ? * MON", "At 00:00, only on Monday"),
    ("0 0 * JUN-AUG *", "At 00:00, June through August"),
    ("0 9 * * FRI-SUN", "At 09:00, Friday through Sunday"),
    ("0 9 * * 6-7", "At 09:00, only on Saturday and Sunday"),
    ("0 9 * 3,11 0", "At 09:00, only on Sunday, only in March and November"),
    ("59 59 23 31 12 *", "At 23:59:59, on day 31 of the month, only in December"),
    ("0 0 31 * 1#1", "At 00:00, on day 31 of the month, or on the first Monday of the month"),
    ("0 0 L * 5", "At 00:00, on the last day of the month, or on Friday"),
    ("0 0 15 * FRIL", "At 00:00, on day 15 of the month, or on the last Friday of the month"),
    ("0 12 1/5 * *", "At 12:00, on every 5th day from day 1 of the month"),
    ("0 0 * 2/3 *", "At 00:00, only in February, May, August, and November"),
    ("0 0 28-31 * *", "At 00:00, on days 28 through 31 of the month"),
    ("*/20 */6 * * *", "Every 20 minutes, in the hours 0, 6, 12, and 18"),
    ("1-59/2 * * * *", "Every 2 minutes from minute 1 through 59"),
    ("* * * * * *", "Every second"),
    ("0,15,30,45 * * * * *", "Every 15 seconds"),
    ("@daily", "At 00:00"),
    ("@weekly", "At 00:00, only on Sunday"),
    ("@monthly", "At 00:00, on day 1 of the month"),
    ("@yearly", "At 00:00, on day 1 of the month, only in January"),
    ("@hourly", "Every hour"),
    ("0 0 L,15 * MON", "At 00:00, on day 15 and the last day of the month, or on Monday"),
    ("0 9 * * MON,TUE,WED,THU,FRI", "At 09:00, Monday through Friday"),
    ("0 9 * * 1-7", "At 09:00"),
    ("0 9 1-31 * *", "At 09:00"),
    ("0-59 * * * *", "Every minute"),
    ("0 0 * 1-12 *", "At 00:00"),
    ("5 4 * * SUN,WED", "At 04:05, only on Wednesday and Sunday"),
    ("0 0 1 * 0-6", "At 00:00"),
    ("0 0 L-1 2 *", "At 00:00, on the day before the last of the month, only in February"),
    ("0 0 1W * *", "At 00:00, on the workday nearest to day 1 of the month"),
    ("0 9 * * 5#5", "At 09:00, on the fifth Friday of the month"),
    ("0 */1 * * *", "Every hour"),
    ("*/1 * * * *", "Every minute"),
    ("*/59 * * * *", "At minutes 0 and 59 past the hour"),
    ("*/45 * * * *", "At minutes 0 and 45 past the hour"),
    ("0 */5 * * *", "At 00:00, 05:00, 10:00, 15:00, and 20:00"),
    ("0 */23 * * *", "At 00:00 and 23:00"),
    ("0 0 */10 * *", "At 00:00, on days 1, 11, 21, and 31 of the month"),
    ("0 0 1 1-12/2 *", "At 00:00, on day 1 of the month, only in January, March, May, July, September, and November"),
    (
        "20 10 */3 * */2",
        "At 10:20, on every 3rd day from day 1 of the month, but only on Tuesday, Thursday, Saturday, and Sunday",
    ),
    ("30 0 */6 * * *", "At 00:00:30, 06:00:30, 12:00:30, and 18:00:30"),
    ("0,30 */5 * * * *", "At seconds 0 and 30, every 5 minutes"),
    (
        "15 5-20 9-17 * * MON-FRI",
        "At second 15 of every minute from minute 5 through 20, between 09:00 and 17:59, Monday through Friday",
    ),
    ("5 * * * * *", "At second 5 of every minute"),
    ("5 */10 * * * *", "At second 5, every 10 minutes"),
    ("7 5,35 1,3,5,7,9 * * *", "At second 7, at minutes 5 and 35, in the hours 1, 3, 5, 7, and 9"),
    ("?/5 ? ? ? ?", "Every 5 minutes"),
    ("0 9 * * SUN-TUE", "At 09:00, Sunday through Tuesday"),
    (
        "0 9 1-7,L-2 3,6 *",
        "At 09:00, on days 1 through 7 and the day 2 days before the last of the month, only in March and June",
    ),
    ("12 * 1,2 * *", "Every hour, at minute 12, on days 1 and 2 of the month"),
    ("*/10 30 9-10 * * *", "Every 10 seconds of minute 30, between 09:00 and 10:59"),
    ("30 */6 * * *", "At 00:30, 06:30, 12:30, and 18:30"),
]


@pytest.mark.parametrize(("text", "words"), WORDS)
def test_a_cron_schedule_says_itself_in_words(text: str, words: str) -> None:
    assert parse_schedule(text).describe() == f"{words} (UTC)"


def test_the_words_name_the_zone() -> None:
    assert parse_schedule("TZ=Asia/Tokyo @daily").describe() == "At 00:00 (Asia/Tokyo)"


def test_words_of_a_hashed_schedule_name_its_numbers() -> None:
    schedule = parse_schedule("H H * * *", hash_key="default/backup")
    run = schedule.next(datetime(2027, 6, 2, tzinfo=UTC))
    assert run is not None
    assert schedule.describe() == f"At {run:%H:%M} (UTC)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@every 1h30m", "Every 1h30m, counted from 1970-01-01 00:00:00 UTC"),
        ("@at 2027-01-01T09:00:00+01:00", "Once, at 2027-01-01 08:00:00 UTC"),
    ],
)
def test_intervals_and_single_instants_say_themselves_in_words(text: str, words: str) -> None:
    assert parse_schedule(text, timezone="Europe/Paris").describe() == words


def test_schedules_that_run_alike_are_told_alike() -> None:
    for alike in (
        ("0 9 * * MON-FRI", "0 9 ? * 1,2,3,4,5"),
        ("*/15 * * * *", "*/15 0-23 * * *", "0,15,30,45 * * * *"),
        ("0 0 * * SUN", "0 0 * * 7", "@weekly"),
    ):
        assert len({parse_schedule(text).describe() for text in alike}) == 1, alike
