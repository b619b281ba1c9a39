"""200,000 random questions, asked of `cronsim` too: it follows Debian's cron.

Where the two may differ is named by a rule below. The rules together may explain away at most 3 %
of the questions, so that they cannot grow into a way of not looking; and what they explain away is
judged by the brute force instead.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cronsim import CronSim, CronSimError
from tests.dose import dose
from tests.unit.timing.oracle import ZONES, runs, tz

from chronos.errors import ScheduleNeverFires
from chronos.timing.schedule import parse_schedule
from chronos.timing.zone import Transition
from chronos.timing.zone import zone as load_zone

SEEDS = 10
CASES_PER_SEED = 20_400
QUESTIONS_PER_EXPRESSION = 12
EXCLUDED_SHARE_MAX = 0.03
FROM = int(datetime(2010, 1, 1, tzinfo=UTC).timestamp())
UNTIL = int(datetime(2036, 1, 1, tzinfo=UTC).timestamp())
DAY = 86_400
WEEK = 7 * DAY


@pytest.mark.parametrize("seed", dose(range(SEEDS), 2))
def test_random_schedules_agree_with_cronsim(seed: int) -> None:
    chance = random.Random(f"cronsim {seed}")
    seen, near_changes, excluded, features = 0, 0, Counter[str](), Counter[str]()
    while seen < CASES_PER_SEED:
        text, zone = expression(chance), chance.choice(ZONES)
        try:
            schedule = parse_schedule(text, timezone=zone)
        except ScheduleNeverFires:
            assert never_fires_for_cronsim(text), text
            seen += 1
            continue
        for at in questions(chance, zone):
            seen += 1
            near_changes += bool(changes_between(zone, at - DAY, at + DAY))
            features.update(features_of(text))
            answer = schedule.next_s(at) or 0
            rule = disagreement(text, zone, at, answer)
            if rule:
                excluded[rule] += 1
                assert agrees_with_brute_force(text, zone, at, answer), (text, zone, at, answer)
    share = excluded.total() / seen
    print(f"{seen} cases, {near_changes} within a day of a change, features {dict(features)}")
    print(f"{excluded.total()} cases, {share:.2%}, explained by rules: {dict(excluded)}")
    assert seen * SEEDS >= 200_000
    assert share <= EXCLUDED_SHARE_MAX
    assert near_changes >= seen * 0.25
    assert set(features) == set(FEATURES)
    assert min(features.values()) >= seen * 0.02


def disagreement(text: str, zone: str, at: int, answer: int) -> str | None:
    """Ask cronsim; return the rule by which it may answer otherwise, or None if it answers alike."""
    if hangs_cronsim(text, zone, at, answer):
        return "an overlap after which cronsim searches for ever"
    theirs = cronsim_next(text, zone, at)
    if answer == theirs:
        return None
    rule = exclusion(text, zone, at, max(answer, theirs))
    assert rule, (text, zone, datetime.fromtimestamp(at, UTC), answer, theirs)
    return rule


def agrees_with_brute_force(text: str, zone: str, at: int, answer: int) -> bool:
    begin = datetime.fromtimestamp(at, UTC)
    end = begin + timedelta(days=2)
    found = runs(text, zone, begin, end)
    return answer == int(found[0].timestamp()) if found else answer > end.timestamp()


def features_of(text: str) -> list[str]:
    """Return what the text uses of what cronsim knows too."""
    return [name for name, uses in FEATURES.items() if uses(text)]


FEATURES: dict[str, Callable[[str], bool]] = {
    "seconds": lambda text: len(text.split()) == 6,
    "real time": lambda text: is_wild(text),
    "wall": lambda text: not is_wild(text),
    "lists": lambda text: "," in text,
    "ranges": lambda text: "-" in text,
    "steps": lambda text: "/" in text,
    "names": lambda text: re.search("[a-zA-Z]{3}", text) is not None,
    "last day": lambda text: re.search("L$|L,", text.split()[-3]) is not None,
    "last workday": lambda text: "LW" in text,
    "last weekday": lambda text: re.search("[0-7]L", text.split()[-1]) is not None,
    "nth weekday": lambda text: "#" in text,
    "either day field": lambda text: not any(text.split()[i].startswith("*") for i in (-3, -1)),
    "both day fields": lambda text: "*/2" in (text.split()[-3], text.split()[-1]),
}


def exclusion(text: str, zone: str, at: int, until: int) -> str | None:
    """Return the rule that explains why cronsim answers otherwise, or None."""
    near = changes_between(zone, at - DAY, until + DAY)
    if not is_wild(text) and len(text.split()) == 6:
        # Six fields follow real time there, whatever they begin with; here the wall.
        moved = [*changes_between(zone, at - DAY, at + DAY), *changes_between(zone, until - DAY, until + DAY)]
        return "a wall schedule with seconds within a day of a change" if moved else None
    if not is_wild(text):
        # It drops the fold of the start, so from inside the second hour it answers with the first.
        repeated = any(c.shift_s < 0 and c.at_s <= at < c.at_s - c.shift_s for c in near)
        return "a wall schedule asked from inside a repeated hour" if repeated else None
    if any(c.shift_s % 3600 or (c.at_s + c.before_s) % 3600 for c in near):
        # It truncates to the full hour on the wall, which may lie before or inside the change.
        return "a real-time schedule over a change that is not from a full hour to a full hour"
    if any(c.shift_s > 0 and touches_midnight(c) for c in near):
        # It goes to 00:00 of the next day even where that does not exist.
        return "a real-time schedule over a gap that touches midnight"
    return None


def hangs_cronsim(text: str, zone: str, at: int, until: int) -> bool:
    """Say whether the clocks go back over midnight to no full hour, as St. John's did at 00:01 until 2011."""
    near = changes_between(zone, at - DAY, until + DAY)
    real_time = is_wild(text) or len(text.split()) == 6
    return real_time and any(c.shift_s < 0 and (c.at_s + c.before_s) % 3600 for c in near)


def is_wild(text: str) -> bool:
    minute, hour = text.split()[-5:-3]
    return minute.startswith("*") or hour.startswith("*")


def touches_midnight(change: Transition) -> bool:
    first, last = change.at_s + change.before_s, change.at_s + change.after_s
    return -first % 86_400 <= last - first


def changes_between(zone: str, a: int, b: int) -> list[Transition]:
    return load_zone(zone).transitions(a, b)


def cronsim_next(text: str, zone: str, at: int) -> int:
    answer = next(CronSim(text, datetime.fromtimestamp(at, tz(zone))))
    return int(answer.timestamp())


def never_fires_for_cronsim(text: str) -> bool:
    try:
        next(CronSim(text, datetime(2025, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration):
        return True
    return False


def questions(chance: random.Random, zone: str) -> list[int]:
    """Return instants to ask from, half of them in the week around a change of the clocks."""
    changes = [change.at_s for change in load_zone(zone).transitions(FROM, UNTIL)]
    found = []
    for n in range(QUESTIONS_PER_EXPRESSION):
        at = chance.randrange(FROM, UNTIL)
        if n % 2 and changes:
            i = min(bisect_left(changes, at), len(changes) - 1)
            at = changes[i] + chance.randrange(-WEEK, WEEK) // chance.choice((1, 10, 50))
        found.append(at)
    return found


def expression(chance: random.Random) -> str:
    """Return five fields, sometimes six, real-time or wall, of every construct that cronsim knows."""
    day, weekday = "*", "*"
    if chance.random() < 0.35:
        day = chance.choice((number_field(chance, 1, 31), "L", "LW", "*/2", "15,L", "28-31"))
    if chance.random() < 0.35:
        weekday = chance.choice(
            (number_field(chance, 0, 7), "1-5", "MON", "sat,sun", "5L", "1#2", "0#5,3#1", "*/2", "7")
        )
    month = number_field(chance, 1, 12) if chance.random() < 0.15 else chance.choice(("*", "*", "*", "JAN-jun"))
    minute, hour = number_field(chance, 0, 59), number_field(chance, 0, 23)
    text = f"{star_or(chance, minute)} {star_or(chance, hour)} {day} {month} {weekday}"
    return f"{chance.choice(('*/20', '30', '5,50', '59'))} {text}" if chance.random() < 0.08 else text


def star_or(chance: random.Random, field: str) -> str:
    """Return a field that begins with a star in a quarter of the cases."""
    return chance.choice(("*", "*/5", "*/7", "*/2")) if chance.random() < 0.25 else field


def number_field(chance: random.Random, low: int, high: int) -> str:
    """Return a list of one to three numbers, ranges and steps."""
    return ",".join(number_item(chance, low, high) for _ in range(chance.choice((1, 1, 1, 2, 3))))


def number_item(chance: random.Random, low: int, high: int) -> str:
    first = chance.randint(low, high)
    last = chance.randint(first, high)
    step = chance.randint(1, max(1, high // 2))
    if first == last:  # cronsim reads `3-3/11` as `3/11`
        return str(first)
    return chance.choice((f"{first}", f"{first}", f"{first}-{last}", f"{first}-{last}/{step}", f"{first}/{step}"))


def test_the_rules_explain_only_what_they_name() -> None:
    noon = int(datetime(2027, 6, 1, 12, tzinfo=UTC).timestamp())
    assert exclusion("*/5 * * * *", "America/New_York", noon, noon + 3600) is None
    assert exclusion("0 9 * * *", "America/New_York", noon, noon + 86_400) is None
    gap = datetime(2027, 3, 14, 6, tzinfo=UTC)
    assert (
        exclusion("*/5 * * * *", "America/New_York", int(gap.timestamp()), int((gap + timedelta(hours=2)).timestamp()))
        is None
    )
