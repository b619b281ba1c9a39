"""Look-ups that hang, and who has to wait for them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from chronos.dispatch import lookup
from chronos.dispatch.lookup import LOOKUPS_MAX, SystemLookup


class Resolver:
    """Answers at once, or not before `release` is set: names that begin with `slow`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.release = threading.Event()
        monkeypatch.setattr(lookup, "addresses_of", self)

    def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        if host.startswith("slow"):
            self.release.wait(60)
        if host == "nobody.test":
            raise OSError(-2, "Name or service not known")
        return ["192.0.2.1"]


def test_a_thousand_questions_for_one_silent_name_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch)

    async def main() -> None:
        async with asyncio.timeout(60):
            system = SystemLookup()
            waiting = [asyncio.ensure_future(system("slow.test", 80)) for _ in range(1_000)]
            await asyncio.sleep(0)
            assert await system("quick.test", 80) == ["192.0.2.1"]
            assert not any(task.done() for task in waiting)
            resolver.release.set()
            assert await asyncio.gather(*waiting) == [["192.0.2.1"]] * 1_000
            system.close()

    asyncio.run(main())
    assert sorted(resolver.asked) == ["quick.test", "slow.test"]


def test_a_name_is_asked_for_again_when_its_answer_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch)

    async def main() -> None:
        system = SystemLookup()
        for _ in range(3):
            await system("quick.test", 80)
        for _ in range(2):
            with pytest.raises(OSError, match="not known"):
                await system("nobody.test", 80)
        system.close()

    asyncio.run(main())
    assert resolver.asked == ["quick.test"] * 3 + ["nobody.test"] * 2


def test_look_ups_are_bounded_and_go_on_when_hanging_ones_end(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch)

    async def main() -> None:
        async with asyncio.timeout(60):
            system = SystemLookup()
            waiting = [asyncio.ensure_future(system(f"slow{n}.test", 80)) for n in range(LOOKUPS_MAX + 5)]
            quick = asyncio.ensure_future(system("quick.test", 80))
            for _ in range(10):
                await asyncio.sleep(0)
            assert not quick.done()
            assert len(resolver.asked) <= LOOKUPS_MAX
            for task in waiting[:3]:
                task.cancel()  # those who lost patience do not stop what others wait for
            resolver.release.set()
            assert await quick == ["192.0.2.1"]
            assert await asyncio.gather(*waiting[3:]) == [["192.0.2.1"]] * (LOOKUPS_MAX + 2)
            system.close()

    asyncio.run(main())
