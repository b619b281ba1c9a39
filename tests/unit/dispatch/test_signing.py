"""The server's own secret, for jobs that have none."""

from __future__ import annotations

import base64

import pytest
from tests.unit.dispatch.fakes import Recorder, a_delivery

from chronos.dispatch.port import Delivery, Outcome, Refused
from chronos.dispatch.signing import signing_unsigned
from chronos.errors import ConfigInvalid
from chronos.model.target import HttpTarget, ProcessTarget, Target
from chronos.testing import VirtualClock, virtual_time

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OWN = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()


async def delivered(target: Target, secret: str = SECRET) -> Target:
    seen: list[Target] = []

    async def deliver(delivery: Delivery) -> Outcome:
        seen.append(delivery.target)
        return Refused("enough", "test")

    await signing_unsigned(secret)(a_delivery(target=target), deliver)
    return seen[0]


@virtual_time
async def test_a_job_without_a_secret_is_signed_with_the_server_s() -> None:
    target = await delivered(HttpTarget(url="http://target.test/"))
    assert isinstance(target, HttpTarget)
    assert target.signing_secret == SECRET


@virtual_time
async def test_a_job_s_own_secret_wins() -> None:
    target = await delivered(HttpTarget(url="http://target.test/", signing_secret=OWN))
    assert isinstance(target, HttpTarget)
    assert target.signing_secret == OWN


@virtual_time
async def test_what_is_no_request_is_left_alone() -> None:
    process = ProcessTarget(argv=["true"])
    assert await delivered(process) is process


@virtual_time
async def test_the_outcome_comes_back_as_it_is() -> None:
    recorder = Recorder(VirtualClock())
    assert await signing_unsigned(SECRET)(a_delivery(), recorder.deliver) == recorder.outcome


def test_a_secret_of_another_shape_stops_the_start_and_a_reference_does_not() -> None:
    signing_unsigned("${secret:env:CHRONOS_SECRET_SIGNING}")
    signing_unsigned(f"${{secret:file:new}} {SECRET};until=2027-01-01")
    with pytest.raises(ConfigInvalid, match=r"dispatcher\.http\.signing_secret must look like"):
        signing_unsigned("hello")
