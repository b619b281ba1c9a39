from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.features.fake_host import FakeHost, a_job
from tests.unit.features.notify.test_rules import an_attempt, an_execution

from chronos.errors import Unavailable
from chronos.features.notify.courier import Courier, Senders
from chronos.features.notify.model import Digest, Failing, Lost, Notice, NoticeKind, Queued, Settings
from chronos.features.notify.outbox import Outbox, Shelves
from chronos.features.notify.port import Result, Sent, Unsent
from chronos.features.notify.service import HEARD, Listener
from chronos.model.events import EventType
from chronos.model.execution import RangeRecord, SkipReason, Status
from chronos.model.job import Job
from chronos.model.notify import Channel, NotifyWebhook
from chronos.plugin import Where
from chronos.testing import virtual_time

HOOK = {"type": "webhook", "url": "http://receiver/hook"}
SLACK = {"type": "slack", "url": "sealed:slack"}
ALL = ["failure", "recovery", "missed"]


class Recorder:
    """A sender that keeps what it is given and answers what it is told to."""

    def __init__(self) -> None:
        self.sent: list[Notice] = []
        self.tried = 0
        self.channels: list[Channel] = []
        self.answer: Callable[[int], Result] = lambda _: Sent()

    async def send(self, notice: Notice, channel: Channel) -> Result:
        self.tried += 1
        result = self.answer(self.tried)
        if isinstance(result, Sent):
            self.sent.append(notice)
            self.channels.append(channel)
        return result

    @property
    def ids(self) -> list[str]:
        return [notice.id for notice in self.sent]


class OpenCredentials:
    """Opens `sealed:x` to `opened x at <place>`."""

    async def open(self, namespace: str, job_id: str, path: str, text: str) -> str:
        if text == "sealed:broken":
            raise Unavailable("the key is gone")
        return text.replace("sealed:", f"opened {namespace}/{job_id}/{path} ")


class InAnHour:
    def next_run(self, job: Job, after_s: int) -> int | None:
        return after_s + 3_600


@dataclass
class Room:
    """The feature on fakes, as `install` puts it together."""

    settings: Settings = field(default_factory=Settings)
    host: FakeHost = field(default_factory=FakeHost)
    webhook: Recorder = field(default_factory=Recorder)
    slack: Recorder = field(default_factory=Recorder)
    email: Recorder = field(default_factory=Recorder)
    counted: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.host.telemetry.add_sink(self)
        self.install()

    def count(self, name: str, value: float, labels: dict[str, str]) -> None:
        assert name == "notifications_total"
        self.counted.append((labels["channel"], labels["event"], labels["outcome"]))

    def gauge(self, name: str, value: float, labels: dict[str, str]) -> None: ...
    def observe(self, name: str, values: Sequence[float], labels: dict[str, str]) -> None: ...

    def install(self) -> None:
        """Put a fresh process on top of the same documents, as after a crash."""
        host = self.host
        courier = Courier(self.settings, OpenCredentials(), Senders(self.webhook, self.slack, self.email))
        shelves = Shelves(
            host.collection("outbox", Queued), host.collection("digests", Digest), host.collection("lost", Lost)
        )
        self.outbox = Outbox(
            shelves,
            courier,
            host.clock,
            host.telemetry,
            max_attempts=self.settings.max_attempts,
            max_per_5m=self.settings.max_per_5m,
        )
        failing = host.collection("failing", Failing)
        self.listener = Listener(self.settings, self.outbox, failing, host.jobs, InAnHour())
        host.services[:] = [self.outbox]
        host.subscriptions.clear()
        host.on({EventType.LEADER_CHANGED}, self.listener.stand_down)
        host.on(HEARD, self.listener.on_event, where=Where.LEADER, durable="notify")
        host.subscriptions[-1].cursor = len(host.log)

    async def fails(self, number: int = 1, job: Job | None = None, **facts: Any) -> None:
        await self._ends(number, job, Status.FAILED, attempts=(an_attempt(1, error="HTTP 500"),), **facts)

    async def succeeds(self, number: int = 1, job: Job | None = None) -> None:
        await self._ends(number, job, Status.SUCCESS)

    async def _ends(self, number: int, job: Job | None, status: Status, **facts: Any) -> None:
        job = job or self.host.job_service.history["J1"][-1][0]
        execution = an_execution(
            job.id,
            job.name,
            id=f"occ_{number}",
            status=status,
            ended_at_us=round(self.host.clock.time() * 1e6),
            **facts,
        )
        await self.host.emit(EventType.EXECUTION_FINISHED, execution=execution, job=job, job_id=job.id)

    def documents(self, shelf: str) -> int:
        return len(self.host.collections[shelf].documents)


def a_room(*channels: dict[str, Any], on: list[str] | None = None, **settings: Any) -> Room:
    """Return a room with one job, told about over `channels`."""
    room = Room(Settings(**settings))
    room.host.job_service.add(a_job(notify={"on": on or ALL, "channels": list(channels)}) if channels else a_job())
    return room


async def seconds(count: float) -> None:
    await asyncio.sleep(count)


@virtual_time
async def test_a_failure_is_told_once_over_every_channel() -> None:
    room = a_room(HOOK, SLACK)
    async with room.host:
        await room.fails()
        await seconds(1)
    assert room.webhook.ids == room.slack.ids == ["occ_1-failure"]
    assert room.webhook.sent[0].error == "HTTP 500"
    assert room.webhook.sent[0].next_run_s == 1_735_689_600 + 3_600
    assert room.documents("outbox") == 0
    assert sorted(room.counted) == [("slack", "failure", "sent"), ("webhook", "failure", "sent")]


@virtual_time
async def test_credentials_are_opened_for_their_place_and_only_on_the_way_out() -> None:
    room = a_room({**HOOK, "secret": "sealed:whsec"}, SLACK)
    room.webhook.answer = lambda tried: Unsent("down") if tried == 1 else Sent()
    async with room.host:
        await room.fails()
        await seconds(1)
        kept = b"".join(raw for raw, _ in room.host.collections["outbox"].documents.values())
        assert b"sealed:whsec" in kept
        assert b"opened" not in kept
        await seconds(60)
    channel = room.webhook.channels[0]
    assert isinstance(channel, NotifyWebhook)
    assert channel.secret == "opened default/J1/notify.channels[0].secret whsec"


@virtual_time
async def test_the_first_success_after_a_failure_is_told_and_no_other() -> None:
    room = a_room(HOOK)
    async with room.host:
        await room.succeeds(1)
        await room.fails(2)
        await seconds(5)
        await room.succeeds(3)
        await room.succeeds(4)
        await seconds(5)
    assert room.webhook.ids == ["occ_2-failure", "occ_3-recovery"]
    assert room.webhook.sent[1].failing_since_us == room.webhook.sent[0].at_us
    assert room.documents("failing") == 0


@virtual_time
async def test_a_recovery_is_told_by_the_next_leader_too() -> None:
    room = a_room(HOOK)
    async with room.host:
        await room.fails(1)
        await seconds(1)
    room.install()
    async with room.host:
        await room.succeeds(2)
        await seconds(1)
    assert room.webhook.ids == ["occ_1-failure", "occ_2-recovery"]


@virtual_time
async def test_success_of_a_healthy_job_writes_nothing() -> None:
    room = a_room(HOOK)
    async with room.host:
        for number in range(50):
            await room.succeeds(number)
    assert sum(collection.writes for collection in room.host.collections.values()) == 0


@virtual_time
async def test_only_what_was_asked_for_is_told() -> None:
    room = a_room(HOOK, on=["recovery"])
    async with room.host:
        await room.fails(1)
        await room.succeeds(2)
        await seconds(1)
    assert room.webhook.ids == ["occ_2-recovery"]


@virtual_time
async def test_a_job_without_channels_is_told_about_over_the_servers() -> None:
    room = a_room(channels=[NotifyWebhook(url="http://server/hook")])
    async with room.host:
        await room.fails()
        await seconds(1)
    assert room.webhook.ids == ["occ_1-failure"]
    assert room.slack.sent == []


@virtual_time
async def test_nobody_to_tell_means_nothing_written() -> None:
    room = a_room()
    async with room.host:
        await room.fails()
        await room.succeeds()
    assert sum(collection.writes for collection in room.host.collections.values()) == 0


@virtual_time
@pytest.mark.parametrize(
    ("reason", "told"),
    [(SkipReason.MISFIRE, 1), (SkipReason.EXPIRED, 1), (SkipReason.PAUSED, 0), (SkipReason.OVERLAP, 0)],
)
async def test_a_missed_range_is_told_unless_the_job_wanted_it_so(reason: SkipReason, told: int) -> None:
    room = a_room(HOOK)
    record = RangeRecord("J1", "default", 1_735_689_600, 1_735_689_900, 6, reason)
    async with room.host:
        await room.host.emit(EventType.RANGE_SKIPPED, job_id="J1", range=record)
        await seconds(1)
    assert [(n.kind, n.missed, n.job_name) for n in room.webhook.sent] == [(NoticeKind.MISSED, 6, "nightly")] * told


@virtual_time
async def test_a_single_missed_instant_is_told_too() -> None:
    room = a_room(HOOK)
    skipped = an_execution(status=Status.SKIPPED, reason="misfire")
    async with room.host:
        await room.host.emit(EventType.EXECUTION_FINISHED, execution=skipped, job_id="J1")
        await room.host.emit(
            EventType.EXECUTION_FINISHED, execution=an_execution(status=Status.SKIPPED, reason="overlap"), job_id="J1"
        )
        await seconds(1)
    assert [(n.kind, n.missed) for n in room.webhook.sent] == [(NoticeKind.MISSED, 1)]


@virtual_time
async def test_a_failure_of_a_job_that_is_gone_reaches_the_servers_channels() -> None:
    room = a_room(channels=[NotifyWebhook(url="http://server/hook")])
    room.host.job_service.remove("J1")
    async with room.host:
        await room.host.emit(EventType.EXECUTION_FINISHED, execution=an_execution(), job_id="J1")
        await seconds(1)
    assert room.webhook.ids == ["occ_1-failure"]


@virtual_time
async def test_a_deleted_job_is_no_longer_remembered_as_failing() -> None:
    room = a_room(HOOK)
    async with room.host:
        await room.fails()
        assert room.documents("failing") == 1
        await room.host.emit(EventType.JOB_DELETED, job_id="J1")
    assert room.documents("failing") == 0


@virtual_time
async def test_a_job_that_was_deleted_in_a_gap_is_no_longer_remembered_as_failing_and_others_are() -> None:
    room = a_room(HOOK)
    async with room.host:
        await room.fails()
        await room.host.emit(EventType.GAP)
        assert room.documents("failing") == 1
        room.host.job_service.remove("J1")
        await room.host.emit(EventType.GAP)
    assert room.documents("failing") == 0


@virtual_time
async def test_an_event_heard_twice_is_told_once() -> None:
    room = a_room(HOOK)
    async with room.host:
        await room.fails()
        await seconds(1)
        await room.host.redeliver("notify")
        await seconds(1)
    room.install()
    async with room.host:
        await room.host.redeliver("notify")
        await seconds(1)
    assert room.webhook.ids == ["occ_1-failure"]


@virtual_time
async def test_what_was_not_sent_before_a_crash_is_sent_after_it_with_the_same_id() -> None:
    room = a_room(HOOK)
    room.webhook.answer = lambda _: Unsent("down")
    async with room.host:
        await room.fails()
        await seconds(1)
    assert room.documents("outbox") == 1
    room.webhook.answer = lambda _: Sent()
    room.install()
    async with room.host:
        await room.host.emit(EventType.LEADER_CHANGED)
        await seconds(30)
    assert room.webhook.ids == ["occ_1-failure"]
    assert room.documents("outbox") == 0


@virtual_time
async def test_a_receiver_that_comes_back_within_the_hour_gets_its_message() -> None:
    room = a_room(HOOK)
    room.webhook.answer = lambda tried: Sent() if tried == 8 else Unsent("down")
    async with room.host:
        await room.fails()
        await seconds(3_600)
    assert room.webhook.ids == ["occ_1-failure"]
    assert [outcome for _, _, outcome in room.counted] == ["retried"] * 7 + ["sent"]


@virtual_time
async def test_a_notice_given_up_is_logged_counted_and_kept_to_be_read() -> None:
    room = a_room(HOOK, max_attempts=3)
    room.webhook.answer = lambda _: Unsent("receiver answered 503")
    with capture_logs() as logs:
        async with room.host:
            await room.fails()
            await seconds(3_600)
    assert room.webhook.tried == 3
    (lost,) = [one for _, one in await room.host.collections["lost"].items()]
    assert (lost.reason, lost.attempts, lost.channel) == ("receiver answered 503", 3, "webhook receiver")
    assert room.counted[-1] == ("webhook", "failure", "lost")
    assert [entry["log_level"] for entry in logs] == ["error"]
    assert room.documents("outbox") == 0


@virtual_time
async def test_what_cannot_help_is_not_tried_again() -> None:
    room = a_room(HOOK)
    room.webhook.answer = lambda _: Unsent("receiver answered 404", permanent=True)
    async with room.host:
        await room.fails()
        await seconds(3_600)
    assert room.webhook.tried == 1
    assert room.documents("lost") == 1


@virtual_time
async def test_a_receivers_wish_to_wait_is_a_floor() -> None:
    room = a_room(HOOK)
    room.webhook.answer = lambda tried: Sent() if tried > 1 else Unsent("slow down", retry_after_s=300.0)
    async with room.host:
        await room.fails()
        await seconds(299)
        assert room.webhook.tried == 1
        await seconds(2)
    assert room.webhook.ids == ["occ_1-failure"]


@virtual_time
async def test_a_dead_channel_does_not_hold_up_another() -> None:
    room = a_room(HOOK, SLACK)

    async def hang(notice: Notice, channel: Channel) -> Result:
        await asyncio.sleep(15)
        return Unsent("no answer")

    room.webhook.send = hang  # type: ignore[method-assign]
    async with room.host:
        for number in range(5):
            await room.fails(number)
        await seconds(120)
    assert len(room.slack.sent) == 5


@virtual_time
async def test_a_storm_is_ten_messages_and_one_digest_that_counts_the_rest() -> None:
    room = a_room(channels=[NotifyWebhook(url="http://server/hook")])
    jobs = [room.host.job_service.add(a_job(f"job-{n}", job_id=f"J{n}")) for n in range(500)]
    async with room.host:
        for number, job in enumerate(jobs):
            await room.fails(number, job)
        await seconds(400)
    kinds = [notice.kind for notice in room.webhook.sent]
    assert kinds == [NoticeKind.FAILURE] * 10 + [NoticeKind.DIGEST]
    digest = room.webhook.sent[-1]
    assert sum(line.count for line in digest.lines) + digest.more == 490
    assert room.counted.count(("webhook", "failure", "suppressed")) == 490
    assert room.documents("digests") == 0


@virtual_time
async def test_one_noisy_job_costs_a_handful_of_writes_once_its_channel_is_full() -> None:
    room = a_room(HOOK)
    async with room.host:
        for number in range(20):
            await room.fails(number)
        await seconds(1)
        before = sum(collection.writes for collection in room.host.collections.values())
        for number in range(20, 1_000):
            await room.fails(number)
        assert sum(collection.writes for collection in room.host.collections.values()) == before


@virtual_time
async def test_a_digest_survives_a_crash() -> None:
    room = a_room(HOOK, max_per_5m=1)
    async with room.host:
        await room.fails(1)
        await room.fails(2)
        await seconds(1)
    assert room.documents("digests") == 1
    room.install()
    async with room.host:
        await room.host.emit(EventType.LEADER_CHANGED)
        await seconds(1)
    assert [notice.kind for notice in room.webhook.sent] == [NoticeKind.FAILURE, NoticeKind.DIGEST]
    assert room.documents("digests") == 0


@virtual_time
async def test_a_node_that_no_longer_leads_stops_sending() -> None:
    room = a_room(HOOK)
    room.webhook.answer = lambda _: Unsent("down")
    async with room.host:
        await room.fails()
        await seconds(1)
        tried = room.webhook.tried
        # Another node leads: this one hears of it only as every node does.
        room.host.subscriptions = [s for s in room.host.subscriptions if not s.durable]
        await room.host.emit(EventType.LEADER_CHANGED)
        await seconds(3_600)
    assert room.webhook.tried == tried
    assert room.documents("outbox") == 1, "the next leader finds it"


@virtual_time
async def test_a_credential_that_cannot_be_opened_is_tried_again_and_then_lost_with_the_reason() -> None:
    room = a_room({**SLACK, "url": "sealed:broken"}, max_attempts=2)
    async with room.host:
        await room.fails()
        await seconds(60)
    (lost,) = [one for _, one in await room.host.collections["lost"].items()]
    assert (lost.reason, lost.attempts, lost.channel) == ("the key is gone", 2, "slack")


@virtual_time
async def test_a_server_channel_taken_out_of_the_settings_loses_its_notices_and_says_why() -> None:
    room = a_room(channels=[NotifyWebhook(url="http://server/hook")])
    room.webhook.answer = lambda _: Unsent("down")
    async with room.host:
        await room.fails()
        await seconds(1)
    room.settings = Settings()
    room.install()
    async with room.host:
        await room.host.emit(EventType.LEADER_CHANGED)
        await seconds(60)
    (lost,) = [one for _, one in await room.host.collections["lost"].items()]
    assert "no longer in the server's configuration" in lost.reason


@virtual_time
async def test_an_outcome_that_cannot_be_written_is_sent_again_rather_than_forgotten() -> None:
    room = a_room(HOOK)
    shelf = room.host.collections["outbox"]
    delete = shelf.delete
    failures = [Unavailable("no quorum"), Unavailable("no quorum")]

    async def stumble(key: str, *, by: str, namespace: str = "default") -> bool:
        if failures:
            raise failures.pop()
        return await delete(key, by=by, namespace=namespace)

    shelf.delete = stumble  # type: ignore[method-assign]
    async with room.host:
        await room.fails()
        await seconds(60)
    assert room.webhook.ids == ["occ_1-failure"] * 3
    assert room.documents("outbox") == 0


@virtual_time
async def test_an_outbox_that_cannot_be_written_keeps_the_event_for_later() -> None:
    room = a_room(HOOK)
    shelf = room.host.collections["outbox"]
    put = shelf.put

    async def refuse(*_: Any, **__: Any) -> int:
        raise Unavailable("no quorum")

    shelf.put = refuse  # type: ignore[method-assign]
    async with room.host:
        await room.fails()
        assert room.host.subscriptions[-1].cursor == 0
        shelf.put = put  # type: ignore[method-assign]
        await room.host.redeliver("notify")
        await seconds(1)
    assert room.webhook.ids == ["occ_1-failure"]


@virtual_time
async def test_a_bug_in_a_sender_is_logged_and_stops_nobody_else() -> None:
    room = a_room(HOOK, SLACK)

    async def explode(notice: Notice, channel: Channel) -> Result:
        raise ZeroDivisionError

    room.webhook.send = explode  # type: ignore[method-assign]
    with capture_logs() as logs:
        async with room.host:
            await room.fails()
            await seconds(30)
    assert room.slack.ids == ["occ_1-failure"]
    assert [entry["log_level"] for entry in logs] == ["error"]
    assert room.documents("outbox") == 1, "it is not forgotten"


@virtual_time
async def test_the_outbox_survives_being_stopped_unstarted_and_twice() -> None:
    outbox = a_room(HOOK).outbox
    await outbox.__aexit__(None, None, None)
    async with outbox:
        pass
    await outbox.__aexit__(None, None, None)
