from __future__ import annotations

import random

from chronos.model.job import Job, JobSpec
from chronos.model.target import HttpTarget
from chronos.store.cache import NOTHING, Cache, weight
from chronos.store.tables import Slots

BYTES_MAX = 200_000


def a_job(body: int) -> Job:
    spec = JobSpec(name="nightly", schedules=["* * * * *"], target=HttpTarget(url="http://localhost/", body="x" * body))
    return Job(id="J1", spec=spec, revision=1, created_at_us=0, updated_at_us=0)


def test_what_is_remembered_is_what_was_put_last_and_never_weighs_too_much() -> None:
    chance, cache, truth = random.Random(1), Cache(BYTES_MAX), {}
    found = 0
    for number in range(20_000):
        place = ("slots", f"J{chance.randrange(600)}")
        if chance.random() < 0.5:
            truth[place] = chance.choice([None, Slots(last_decided_s=number), a_job(chance.randrange(4_000))])
            cache.put(place, truth[place])
        value = cache.get(place)
        assert value is NOTHING or value is truth[place]
        found += value is not NOTHING
        held = [value for half in (cache.newer, cache._older) for table in half.values() for value in table.values()]
        assert number % 100 or sum(map(weight, held)) <= BYTES_MAX + weight(a_job(4_000))
    assert found > 10_000


def test_what_is_asked_for_again_and_again_stays() -> None:
    cache = Cache(BYTES_MAX)
    cache.put(("meta", "meta"), Slots())
    for number in range(10_000):
        cache.put(("slots", f"J{number}"), Slots(last_decided_s=number))
        assert cache.get(("meta", "meta")) is not NOTHING


def test_that_there_is_nothing_is_remembered_too() -> None:
    cache = Cache(BYTES_MAX)
    cache.put(("slots", "J1"), None)
    assert cache.get(("slots", "J1")) is None
    assert cache.get(("slots", "J2")) is NOTHING
