from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.features.fake_host import FakeHost, a_job

from chronos.dispatch.references import SecretResolver
from chronos.errors import ConfigInvalid, Invalid, JobInvalid, JobNotFound, Unprocessable
from chronos.features.notify import install
from chronos.features.notify.credentials import HouseCredentials
from chronos.features.notify.model import Addressed, Lost, Notice, NoticeKind, Queued, Settings, Smtp, SmtpTls
from chronos.features.notify.overview import ChannelList, ChannelsQuery, WaitingPage, WaitingQuery
from chronos.features.notify.routes import LostPage, LostQuery, TestRequest, TestResult
from chronos.model.notify import NotifyEmail, NotifySlack, NotifyWebhook
from chronos.model.premises import Premises
from chronos.model.principal import Principal
from chronos.model.sealing import Sealer
from chronos.plugin import Action, Place
from chronos.testing import virtual_time

SMTP = Smtp(host="127.0.0.1", sender="chronos@example.org")
LOST = "/api/v1/notify/lost"
TEST = "/api/v1/notify/test"
CHANNELS = "/api/v1/notify/channels"
WAITING = "/api/v1/notify/waiting"


class House:
    """Premises whose keys are all alike."""

    listens_on_loopback = True
    is_insecure_allowed = False

    def key(self, name: str) -> bytes:
        return bytes(32)

    def keep_once(self, name: str, text: str) -> str:
        return text


class References:
    async def resolve_target(self, target: Any) -> Any:
        raise NotImplementedError

    async def resolve_text(self, text: str) -> tuple[str, frozenset[str]]:
        return text.replace("${secret:env:URL}", "not-a-url"), frozenset()


def a_host(settings: Settings | None = None, place: Place = Place.MAIN) -> FakeHost:
    host = FakeHost(place)
    host.provide(Premises, House())  # type: ignore[type-abstract]
    host.provide(SecretResolver, References())  # type: ignore[type-abstract]
    install(host, settings or Settings())
    return host


async def tried(host: FakeHost, **request: Any) -> TestResult:
    reply = await host.call("POST", TEST, body=TestRequest(**request))
    assert isinstance(reply.value, TestResult)
    return reply.value


def a_lost(number: int, namespace: str = "default") -> Lost:
    notice = Notice(id=f"n{number}", kind=NoticeKind.FAILURE, at_us=number, namespace=namespace, job_name="nightly")
    return Lost(notice=notice, channel="slack", reason="hooks.slack.com answered 404", attempts=1, at_us=number)


async def keep(host: FakeHost, *lost: Lost) -> None:
    for one in lost:
        await host.collections["notify-lost"].put(one.notice.id, one, by="notify", namespace=one.notice.namespace)


@virtual_time
async def test_a_test_message_says_for_each_channel_what_became_of_it() -> None:
    # No guard is offered here, so nothing can leave; the answer says that, channel by channel.
    result = await tried(a_host(), channels=[NotifyWebhook(url="http://h/"), NotifyEmail(to=["a@example.org"])])
    assert [(each.channel, each.ok) for each in result.results] == [
        ("webhook h", False),
        ("email a@example.org", False),
    ]
    assert "EgressGuard" in result.results[0].reason
    assert "notify.smtp" in result.results[1].reason


@virtual_time
async def test_the_channels_of_a_job_can_be_tried_without_knowing_their_credentials() -> None:
    host = a_host()
    sealed = Sealer(bytes(32), host.chance).seal("not-a-url", "default/J1/notify.channels[0].url")
    host.job_service.add(a_job(notify={"channels": [{"type": "slack", "url": sealed}]}))
    (only,) = (await tried(host, job="nightly")).results
    assert (only.channel, only.ok) == ("slack", False)
    assert only.reason.startswith("the channel's URL must begin with"), "it was opened"


@virtual_time
async def test_the_servers_channels_are_tried_when_none_are_named_and_their_references_looked_up() -> None:
    (only,) = (await tried(a_host(Settings(channels=[NotifySlack(url="${secret:env:URL}")])))).results
    assert only.reason.startswith("the channel's URL must begin with")


@virtual_time
@pytest.mark.parametrize("url", ["***", "sealed:abc"])
async def test_a_credential_that_is_only_shown_or_sealed_is_no_channel_to_try(url: str) -> None:
    with pytest.raises(Unprocessable, match="in clear"):
        await tried(a_host(), channels=[NotifySlack(url=url)])


@virtual_time
async def test_nothing_to_try_is_said_so() -> None:
    host = a_host()
    host.job_service.add(a_job())
    with pytest.raises(Unprocessable, match="no channel"):
        await tried(host)
    with pytest.raises(Unprocessable, match="has no `notify`"):
        await tried(host, job="nightly")
    with pytest.raises(JobNotFound):
        await tried(host, job="nobody")


@virtual_time
async def test_lost_notices_are_read_newest_first_page_by_page_in_their_namespace_only() -> None:
    host = a_host()
    await keep(host, *(a_lost(n) for n in range(1, 6)), a_lost(9, "other"))
    seen, cursor = [], ""
    for _ in range(5):
        reply = await host.call("GET", LOST, query=LostQuery(limit=2, cursor=cursor))
        assert isinstance(reply.value, LostPage)
        assert reply.value.total == 5
        seen += [lost.id for lost in reply.value.lost]
        cursor = reply.value.next_cursor or ""
        if not cursor:
            break
    assert seen == ["n5", "n4", "n3", "n2", "n1"]
    with pytest.raises(Invalid, match="cursor"):
        await host.call("GET", LOST, query=LostQuery(cursor="x"))


@virtual_time
async def test_channels_are_listed_without_their_credentials_a_jobs_own_before_the_servers() -> None:
    host = a_host(Settings(channels=[NotifySlack(url="https://hooks.slack.com/SECRET")], smtp=SMTP))
    host.job_service.add(a_job())
    own = a_job("loud", job_id="J2", notify={"on": ["missed"], "channels": [{"type": "webhook", "url": "http://h/S"}]})
    host.job_service.add(own)

    async def listed(job: str | None) -> ChannelList:
        reply = await host.call("GET", CHANNELS, query=ChannelsQuery(job=job))
        assert isinstance(reply.value, ChannelList)
        assert "S" not in "".join(channel.name for channel in reply.value.channels)
        return reply.value

    for job in (None, "nightly"):
        found = await listed(job)
        assert (found.source, [c.name for c in found.channels], found.mail) == ("server", ["slack"], True)
        assert found.on == ["failure", "missed", "recovery"]
    found = await listed("loud")
    assert (found.source, found.on, [(c.type, c.name) for c in found.channels]) == (
        "job",
        ["missed"],
        [("webhook", "webhook h")],
    )
    with pytest.raises(JobNotFound):
        await listed("nobody")


@virtual_time
async def test_what_waits_is_read_oldest_first_with_its_tries_and_its_next_one() -> None:
    host = a_host(Settings(channels=[NotifySlack(url="https://hooks.slack.com/x")]))
    for number, namespace in ((3, "default"), (1, "default"), (2, "default"), (9, "other")):
        notice = Notice(id=f"n{number}", kind=NoticeKind.FAILURE, at_us=number, namespace=namespace)
        queued = Queued(
            notice=notice,
            to=Addressed(key="server:0"),
            queued_at_us=number,
            attempts=number - 1,
            not_before_us=(number - 1) * 1_000_000,
        )
        await host.collections["notify-outbox"].put(queued.key, queued, by="notify", namespace=namespace)
    first = (await host.call("GET", WAITING, query=WaitingQuery(limit=2))).value
    assert isinstance(first, WaitingPage)
    assert [(one.id, one.channel, one.attempts) for one in first.waiting] == [("n1", "slack", 0), ("n2", "slack", 1)]
    assert first.waiting[0].next_try_at is None
    assert first.waiting[1].next_try_at is not None
    assert (first.total, first.next_cursor) == (3, "2")
    rest = (await host.call("GET", WAITING, query=WaitingQuery(cursor="2"))).value
    assert ([one.id for one in rest.waiting], rest.next_cursor) == (["n3"], None)
    with pytest.raises(Invalid, match="cursor"):
        await host.call("GET", WAITING, query=WaitingQuery(cursor="-1"))


@virtual_time
@pytest.mark.parametrize(
    ("channel", "wrong"),
    [
        ({"type": "webhook", "url": "ftp://h/"}, r"notify\.channels\[0\]\.url must begin with http"),
        ({"type": "webhook", "url": "http://h/", "secret": "hunter2"}, r"secret must look like whsec_"),
        ({"type": "slack", "url": "hooks.slack.com/x"}, r"notify\.channels\[0\]\.url"),
        ({"type": "email", "to": ["a@example.org"]}, "sends no mail"),
    ],
)
async def test_a_job_whose_channel_can_never_work_is_refused_by_day(channel: dict[str, Any], wrong: str) -> None:
    spec = a_job(notify={"channels": [channel]}).spec
    (admit,) = a_host().admits
    with pytest.raises(JobInvalid, match=wrong):
        await admit(Action.CREATE_JOB, spec, Principal(id="key:ada"))
    await admit(Action.DELETE_JOB, spec, Principal(id="key:ada"))


@virtual_time
@pytest.mark.parametrize("text", ["***", "sealed:abc", "${secret:env:URL}", "https://hooks.example/${secret:env:PATH}"])
async def test_what_cannot_be_looked_into_is_let_through(text: str) -> None:
    (admit,) = a_host(Settings(smtp=SMTP)).admits
    channels = [{"type": "slack", "url": text}, {"type": "email", "to": ["a@example.org"]}]
    await admit(Action.UPDATE_JOB, a_job(notify={"channels": channels}).spec, Principal(id="key:ada"))
    await admit(Action.CREATE_JOB, a_job().spec, Principal(id="key:ada"))


@virtual_time
async def test_credentials_of_a_job_are_bound_to_it() -> None:
    sealer = Sealer(bytes(32), a_host().chance)
    credentials = HouseCredentials(sealer, References())
    sealed = sealer.seal("https://h/", "default/J1/notify.channels[0].url")
    assert await credentials.open("default", "J1", "notify.channels[0].url", sealed) == "https://h/"
    with pytest.raises(Unprocessable, match="cannot be opened"):
        await credentials.open("default", "J2", "notify.channels[0].url", sealed)


def test_mail_channels_need_a_mail_server_and_a_password_needs_a_protected_way() -> None:
    with pytest.raises(ConfigInvalid, match=r"notify\.smtp"):
        a_host(Settings(channels=[NotifyEmail(to=["a@example.org"])]))
    open_relay = Smtp(host="mail.example.org", sender="c@example.org", tls=SmtpTls.NONE, username="u")
    with pytest.raises(ConfigInvalid, match="in clear"):
        a_host(Settings(smtp=open_relay))
    a_host(Settings(smtp=msgspec.structs.replace(open_relay, host="127.0.0.1")))


def test_settings_are_read_strictly_and_never_print_a_secret() -> None:
    raw = {
        "channels": [{"type": "slack", "url": "https://hooks.slack.com/SECRET1"}],
        "smtp": {"host": "h", "from": "c@example.org", "username": "u", "password": "SECRET2"},
    }
    settings = msgspec.convert(raw, Settings)
    assert settings.smtp is not None
    assert settings.smtp.sender == "c@example.org"
    assert "SECRET" not in repr(settings) + str(settings.smtp)
    with pytest.raises(msgspec.ValidationError, match="chanels"):
        msgspec.convert({"chanels": []}, Settings)


def test_trying_out_and_reading_need_rights_of_their_own() -> None:
    rights = {path: endpoint.permission for (_, path), endpoint in a_host().endpoints.items()}
    assert rights == {
        TEST: "notify:test",
        LOST: "notify:read",
        CHANNELS: "notify:read",
        WAITING: "notify:read",
    }


def test_listening_and_sending_happen_in_the_main_process_only() -> None:
    api, worker = a_host(place=Place.API), a_host(place=Place.WORKER)
    assert (len(api.endpoints), api.subscriptions, api.services) == (4, [], [])
    assert (worker.endpoints, worker.subscriptions, worker.services) == ({}, [], [])
    assert [s.durable for s in a_host().subscriptions] == ["", "notify"]
