from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.dispatch.fakes import a_delivery
from tests.unit.features.fake_host import FakeHost, a_job

from chronos.dispatch.port import Delivered, Delivery, Outcome, Refused
from chronos.dispatch.redaction import secrets_of
from chronos.errors import CallbackRefused, JobInvalid
from chronos.features.callbacks import install
from chronos.features.callbacks.model import CallbackAnswer, CallbackBody, CallbackQuery, Settings
from chronos.features.callbacks.rules import Ticket
from chronos.features.callbacks.service import PATH, Callbacks
from chronos.model.callback import Heard
from chronos.model.job import JobSpec
from chronos.model.premises import Entrance, Premises
from chronos.model.principal import Principal
from chronos.model.target import Completion, HttpTarget
from chronos.plugin import Action
from chronos.testing import VirtualClock

ID = "occ_" + "0" * 32
ANN = Principal(id="ann")


class House:
    """Premises, and the way in."""

    listens_on_loopback = True
    is_insecure_allowed = False

    def __init__(self, public_url: str = "", listener_url: str = "http://127.0.0.1:8080") -> None:
        self.public_url = public_url
        self.listener_url = listener_url

    def key(self, name: str) -> bytes:
        return name.encode().ljust(32, b"!")

    def keep_once(self, name: str, text: str) -> str:
        return text


def a_delivery_of(url: str = "http://127.0.0.1:9/", **target: Any) -> Delivery:
    given: dict[str, Any] = {"completion": Completion.CALLBACK, "deadline": "1h"} | target
    return a_delivery(
        ID, target=HttpTarget(url=url, **given), not_before_us=1_800_000_000_000_000, timeout_us=30_000_000
    )


def callbacks_of(house: House, clock: VirtualClock | None = None) -> Callbacks:
    return Callbacks(house.key("callbacks"), house, clock or VirtualClock())


async def left(callbacks: Callbacks, delivery: Delivery) -> tuple[Delivery | None, Outcome, frozenset[str]]:
    """Return the delivery as it left, what came of it, and the secrets in play meanwhile."""
    seen: list[tuple[Delivery, frozenset[str]]] = []

    async def deliver(wrapped: Delivery) -> Outcome:
        seen.append((wrapped, secrets_of(wrapped.target)))
        return Delivered()

    outcome = await callbacks.around(delivery, deliver)
    return (*(seen[0][:1] if seen else (None,)), outcome, seen[0][1] if seen else frozenset())


@pytest.mark.asyncio
async def test_an_attempt_leaves_with_an_address_of_its_own_that_is_kept_out_of_everything() -> None:
    callbacks = callbacks_of(House())
    delivery = a_delivery_of()
    gone, _, secrets = await left(callbacks, delivery)
    assert gone is not None
    base, _, token = gone.callback.partition("?token=")
    assert base == f"http://127.0.0.1:8080{PATH}"
    assert token in secrets
    day = 86_400
    assert callbacks.read(token) == Ticket(ID, 1, 1_800_000_000 + 30 + 3_600 + day)
    second, _, _ = await left(callbacks, replace(delivery, attempt=2))
    assert second is not None
    assert second.callback != gone.callback
    same, _, _ = await left(callbacks, delivery)
    assert same == gone, "what is redacted later is what was sent"


@pytest.mark.asyncio
async def test_every_other_attempt_is_left_alone() -> None:
    delivery = a_delivery_of(completion=Completion.ANSWER, deadline=None)
    assert (await left(callbacks_of(House()), delivery))[0] == delivery


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "house, url, why",
    [
        (House(), "http://reports.example.org/", "server.public_url"),
        (House(listener_url=""), "http://127.0.0.1:9/", "server.public_url"),
        (House(), "http://127.0.0.1:9/", ""),
        (House(public_url="https://chronos.example.org/"), "http://reports.example.org/", ""),
        (House(public_url="http://127.0.0.1:1"), "http://reports.example.org/", ""),
        (House(listener_url="http://10.0.0.1:8080"), "http://reports.example.org/{{.JobID}}", ""),
    ],
)
async def test_a_target_that_could_never_report_is_not_called_and_its_job_is_refused(
    house: House, url: str, why: str
) -> None:
    callbacks = callbacks_of(house)
    gone, outcome, _ = await left(callbacks, a_delivery_of(url))
    spec = a_job(webhook={"url": url, "completion": "callback"}).spec
    if not why:
        assert gone is not None
        await callbacks.admit(Action.CREATE_JOB, spec, ANN)
        return
    assert gone is None
    assert isinstance(outcome, Refused)
    assert (outcome.permanent, outcome.error_class) == (True, "callback")
    assert why in outcome.reason
    with pytest.raises(JobInvalid, match=why):
        await callbacks.admit(Action.CREATE_JOB, spec, ANN)
    await callbacks.admit(Action.DELETE_JOB, spec, ANN)


@pytest.mark.asyncio
async def test_where_a_secret_says_where_the_target_is_the_job_is_taken_and_the_attempt_decides() -> None:
    spec = a_job(webhook={"url": "${secret:env:URL}", "completion": "callback"}).spec
    await callbacks_of(House()).admit(Action.CREATE_JOB, spec, ANN)


def installed(settings: Settings | None = None) -> FakeHost:
    host = HostWithArounds()
    house = House()
    host.provide(Premises, house)  # type: ignore[type-abstract]
    host.provide(Entrance, house)  # type: ignore[type-abstract]
    install(host, settings or Settings())
    return host


class HostWithArounds(FakeHost):
    """A host that takes wrappers."""

    def around_dispatch(self, around: Any, *, order: int = 50) -> None:
        self.around = around


@pytest.mark.asyncio
async def test_where_callbacks_are_off_nobody_listens_and_jobs_are_refused() -> None:
    host = installed(Settings(enabled=False))
    assert host.endpoints == {}
    spec: JobSpec = a_job(webhook={"url": "http://127.0.0.1:9/", "completion": "callback"}).spec
    with pytest.raises(JobInvalid, match="switched off"):
        await host.admits[0](Action.UPDATE_JOB, spec, ANN)
    await host.admits[0](Action.UPDATE_JOB, a_job().spec, ANN)


@pytest.mark.asyncio
async def test_a_report_is_handed_on_as_it_was_meant() -> None:
    host = installed()
    gone, _, _ = await left(callbacks_of(House()), a_delivery_of())
    assert gone is not None
    query = CallbackQuery(token=gone.callback.partition("?token=")[2])
    bodies = [
        CallbackBody(),
        CallbackBody(progress=40, message="m"),
        CallbackBody(result="failure", message="m", output="o", retry=False),
        CallbackBody(result="success"),
    ]
    for body in bodies:
        reply = await host.call("POST", PATH, query=query, body=body)
        assert reply.value == CallbackAnswer(execution_id=ID, status="running", cancelled=False)
    assert host.job_service.heard == [
        Heard(execution_id=ID, attempt=1),
        Heard(execution_id=ID, attempt=1, progress=40, message="m"),
        Heard(execution_id=ID, attempt=1, message="m", success=False, output="o", retry=False),
        Heard(execution_id=ID, attempt=1, success=True),
    ]
    with pytest.raises(CallbackRefused):
        await host.call("POST", PATH, query=CallbackQuery(token="x"), body=CallbackBody())
    assert len(host.job_service.heard) == 4


def test_the_way_in_is_public_and_bounded() -> None:
    endpoint = installed().endpoints["POST", PATH]
    assert (endpoint.permission, endpoint.body_bytes_max) == ("public", 512 * 1024)
