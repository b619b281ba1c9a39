"""A request whose target may report later: the address it carries, what its answer means, who sees it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.dispatch.fakes import Recorder, a_delivery

from chronos.dispatch.breaker import Verdict
from chronos.dispatch.http.answer import judge
from chronos.dispatch.http.check import check_http_target
from chronos.dispatch.http.redirect import follow
from chronos.dispatch.http.request import CALLBACK_HEADER, RequestInvalid, build_cancel, build_request
from chronos.dispatch.port import Accepted, Answer, Deliver, Delivered, Delivery, Outcome, Refused
from chronos.dispatch.redaction import secrets_in_play
from chronos.dispatch.router import Router, verdict_of
from chronos.errors import DurationInvalid, JobInvalid
from chronos.model.target import Completion, HttpTarget
from chronos.testing import VirtualClock, virtual_time

S = 1_000_000
ADDRESS = "https://chronos.test/api/v1/callbacks?token=t"


def a_target(**more: Any) -> HttpTarget:
    return HttpTarget(url="https://target.test/work", **({"completion": Completion.CALLBACK} | more))


def judged(target: HttpTarget, status: int) -> Outcome:
    return judge(target, Answer(status), [], 0.0, resent=False)


def test_a_202_takes_the_work_on_for_as_long_as_the_job_says() -> None:
    taken = judged(a_target(deadline="2h", heartbeat="5m"), 202)
    assert taken == Accepted(Answer(202), deadline_us=7_200 * S, heartbeat_us=300 * S)
    assert judged(a_target(), 202) == Accepted(Answer(202), deadline_us=3_600 * S, heartbeat_us=0)
    assert isinstance(judged(a_target(success_codes=[200]), 202), Accepted)


def test_every_other_answer_means_what_it_always_does() -> None:
    assert isinstance(judged(a_target(), 200), Delivered)
    assert isinstance(judged(a_target(), 503), Refused)
    assert isinstance(judged(a_target(completion=Completion.ANSWER), 202), Delivered)


def test_the_address_goes_with_the_request_and_not_with_the_cancel() -> None:
    target = a_target(cancel_url="https://target.test/stop")
    delivery = a_delivery(target=target, callback=ADDRESS)
    assert build_request(delivery, target, 0.0).user[CALLBACK_HEADER] == ADDRESS
    stop = build_cancel(delivery, target, 0.0)
    assert stop is not None
    assert CALLBACK_HEADER not in {**stop.user, **stop.chronos}
    plain = a_target(completion=Completion.ANSWER)
    assert CALLBACK_HEADER not in build_request(replace(delivery, target=plain), plain, 0.0).user


def test_where_nobody_listens_nothing_is_sent() -> None:
    with pytest.raises(RequestInvalid, match="takes no callbacks"):
        build_request(a_delivery(target=a_target()), a_target(), 0.0)


@pytest.mark.parametrize("location, goes_along", [("/there", True), ("https://other.test/", False)])
def test_the_address_stays_with_the_origin_it_was_given_to(location: str, goes_along: bool) -> None:
    request = build_request(a_delivery(target=a_target(), callback=ADDRESS), a_target(), 0.0)
    assert (CALLBACK_HEADER in follow(request, 307, location).user) is goes_along


@pytest.mark.parametrize("length", ["1s", "30d", "90m"])
def test_lengths_in_bounds_are_taken(length: str) -> None:
    check_http_target(a_target(deadline=length, heartbeat=length))


@pytest.mark.parametrize(
    "more, field",
    [
        ({"deadline": "999ms"}, "target.deadline"),
        ({"deadline": "721h"}, "target.deadline"),
        ({"heartbeat": "0s"}, "target.heartbeat"),
        ({"completion": Completion.ANSWER, "deadline": "1h"}, "target.deadline"),
        ({"completion": Completion.ANSWER, "heartbeat": "1h"}, "target.heartbeat"),
    ],
)
def test_lengths_that_make_no_sense_are_refused_with_their_place(more: dict[str, Any], field: str) -> None:
    with pytest.raises(JobInvalid) as refused:
        check_http_target(a_target(**more))
    assert refused.value.facts["field"] == field


def test_what_is_no_length_is_refused_with_its_place() -> None:
    with pytest.raises(DurationInvalid) as refused:
        check_http_target(a_target(heartbeat="soon"))
    assert refused.value.facts["field"] == "target.heartbeat"


def test_a_host_that_takes_work_on_has_answered() -> None:
    assert verdict_of(Accepted(Answer(202))) is Verdict.ANSWERED


@virtual_time
async def test_what_redacts_knows_the_secrets_that_wrappers_bring() -> None:
    async def around(delivery: Delivery, inner: Deliver) -> Outcome:
        with secrets_in_play(["from-a-vault"]):
            return await inner(delivery)

    recorder = Recorder(VirtualClock())
    router = Router({"http": recorder}, recorder.clock, around=[around])
    redactor = await router.redactor(a_delivery(target=a_target(headers={"Authorization": "Bearer hidden-token"})))
    assert redactor is not None
    assert redactor.text("from-a-vault and hidden-token") == "*** and ***"
    assert recorder.began == [], "nothing is sent"


@virtual_time
async def test_without_the_secrets_there_is_nothing_to_redact_with() -> None:
    async def around(delivery: Delivery, inner: Deliver) -> Outcome:
        return Refused("the vault is sealed", "secret", permanent=True)

    recorder = Recorder(VirtualClock())
    assert await Router({"http": recorder}, recorder.clock, around=[around]).redactor(a_delivery()) is None
