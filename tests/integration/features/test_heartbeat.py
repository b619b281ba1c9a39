"""A whole node and somebody outside: pings while it plans, word of trouble when it does not, silence after its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.features.receivers import HttpReceiver, http_receiver
from tests.integration.server.living import SteppedClock, a_node, until

from chronos.server.assemble import Outside

DAY = 86_400.0


def heard(switch: HttpReceiver, line: str) -> int:
    return sum(first == line for first, _, _ in switch.requests)


@pytest.mark.asyncio
async def test_a_server_is_heard_while_it_schedules_and_a_held_clock_is_told(tmp_path: Path) -> None:
    clock = SteppedClock()
    ping, fail = "GET /hook HTTP/1.1", "POST /hook/fail HTTP/1.1"
    async with http_receiver() as switch:
        outside = Outside(clock=clock, synchronised=lambda: False)
        async with a_node(
            tmp_path / "data",
            outside,
            heartbeat__url=switch.url,
            heartbeat__fail_url=f"{switch.url}/fail",
            heartbeat__interval="1h",
        ) as living:

            async def has_pinged() -> bool:
                return heard(switch, ping) == 1

            await until(has_pinged)
            status = (await living.call("GET", "/api/v1/heartbeat")).json()
            assert (status["configured"], status["scheduling"], status["last_error"]) == (True, True, "")
            assert status["last_sent_at"] is not None
            assert switch.url not in str(status)

            clock.ahead_s = 2 * DAY  # told once it has lasted

            async def has_told() -> bool:
                return heard(switch, fail) == 1

            await until(has_told)
            assert b"clock accept" in switch.requests[-1][2]
            held = (await living.call("GET", "/api/v1/heartbeat")).json()
            assert (held["scheduling"], heard(switch, ping)) == (False, 1)
            assert "chronos_scheduling 0.0" in (await living.call("GET", "/metrics")).text

            await living.call("POST", "/api/v1/clock/accept")

            async def has_pinged_again() -> bool:
                return heard(switch, ping) == 2

            await until(has_pinged_again)
        assert (heard(switch, ping), heard(switch, fail)) == (2, 1), "a server that is asked to stop is just silent"


@pytest.mark.asyncio
async def test_the_guard_stands_before_the_heartbeat_too(tmp_path: Path) -> None:
    async with a_node(tmp_path / "data", heartbeat__url="http://169.254.169.254/latest/meta-data/") as living:

        async def has_failed() -> bool:
            return bool((await living.call("GET", "/api/v1/heartbeat")).json()["last_error"])

        await until(has_failed)
        assert "metadata" in (await living.call("GET", "/api/v1/heartbeat")).json()["last_error"]
