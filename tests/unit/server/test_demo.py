"""The demo's jobs and target."""

from __future__ import annotations

import pytest
from tests.unit.scheduler.harness import BEGIN_S, Node, World

from chronos.errors import ConfigInvalid
from chronos.server import demo
from chronos.server.demo import EchoTarget, demo_jobs
from chronos.testing import virtual_time


def test_there_are_three_jobs_as_promised() -> None:
    heartbeat, flaky, once = (spec.normal() for spec in demo_jobs(4_711, 1_800_000_000.4))

    assert heartbeat.schedules == ["*/5 * * * * *"]
    assert (flaky.schedules, flaky.retry_policy.max_attempts) == (["* * * * *"], 5)
    assert once.schedules == ["@at 2027-01-15T08:00:30Z"]
    assert all(spec.tags == {"demo": "true"} for spec in (heartbeat, flaky, once))


@pytest.mark.parametrize(("path", "statuses"), [("/echo", [200, 200, 200]), ("/flaky", [503, 503, 200, 503, 503, 200])])
def test_the_flaky_path_fails_twice_of_three(path: str, statuses: list[int]) -> None:
    target = EchoTarget()

    answers = [target.answer(path, b"") for _ in statuses]

    assert [int(answer.split(b" ")[1]) for answer in answers] == statuses


def test_the_echo_says_what_it_was_told() -> None:
    assert EchoTarget().answer("/echo", b"abc").endswith(b"\r\n\r\nabc")


def test_a_demo_is_for_loopback() -> None:
    demo.check(on_loopback=True)
    with pytest.raises(ConfigInvalid):
        demo.check(on_loopback=False)


@virtual_time
async def test_what_an_earlier_demo_left_goes_and_no_job_of_anybody_else_is_read_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Node(World()) as node:
        for spec in demo_jobs(4_711, BEGIN_S):
            await node.jobs.create(spec, by=demo.BY)
        await node.create("kept", tags={demo.TAG: "true"})
        await node.create("other")
        monkeypatch.setattr(node.state, "find_jobs", None)  # what goes through all jobs
        await demo.clear(node.jobs, node.queries)
        await demo.clear(node.jobs, node.queries)
        left = sorted(job.name for job in node.queries.all_jobs())

    assert left == ["kept", "other"]
