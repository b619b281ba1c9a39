"""Try channels out; read what was lost; refuse jobs whose channels cannot work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct, field

from chronos.dispatch.http.url import parse_url
from chronos.errors import JobInvalid, Unprocessable
from chronos.features.notify.courier import Courier, described
from chronos.features.notify.model import CHANNELS_MAX, Addressed, Lost, Notice, NoticeKind, Settings
from chronos.features.notify.overview import offset_of
from chronos.features.notify.port import Sent, Unsent
from chronos.features.notify.rules import addressees
from chronos.model.job import JobSpec
from chronos.model.limits import JobName
from chronos.model.notify import Channel, NotifyEmail, NotifyWebhook
from chronos.model.principal import Principal
from chronos.model.secret import SEALED_PREFIX, STARS, is_reference
from chronos.model.signing import signing_keys
from chronos.plugin import Action, Call, Collection, Endpoint, Jobs, Reply
from chronos.timing.clock import Chance, Clock, ulid, utc


class TestRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which channels to try: those given, else those of the job, else the server's."""

    __test__ = False  # not pytest's

    channels: Annotated[list[Channel], Meta(max_length=CHANNELS_MAX)] = field(default_factory=list)
    job: JobName | None = None


class Tried(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of a test message on one channel."""

    channel: str
    ok: bool
    reason: str = ""


class TestResult(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer for each channel, in order."""

    __test__ = False

    message_id: str
    results: list[Tried]


class LostQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, Meta(max_length=32)] = ""


class LostNotice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A notice nobody received.

    Attributes:
        channel: Its kind, and a webhook's host or the mail addresses.
        attempts: Tries; 0 when there was no room to queue it.
    """

    id: str
    event: NoticeKind
    job_id: str
    job_name: str
    execution_id: str
    error: str
    channel: str
    reason: str
    attempts: int
    happened_at: datetime
    lost_at: datetime


class LostPage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lost notices, newest first; the last 1,000 are kept."""

    lost: list[LostNotice]
    total: int
    next_cursor: str | None = None


class Desk:
    """Answers for the feature."""

    def __init__(
        self, settings: Settings, courier: Courier, lost: Collection[Lost], jobs: Jobs, clock: Clock, chance: Chance
    ) -> None:
        self._settings = settings
        self._courier = courier
        self._lost = lost
        self._jobs = jobs
        self._clock = clock
        self._chance = chance

    async def test(self, call: Call) -> Reply:
        """Send a test message at once, one channel after the other, each once."""
        request: TestRequest = call.body or TestRequest()
        channels = await self._channels(request, call.namespace)
        notice = Notice(
            id=f"test-{ulid(self._clock, self._chance)}",
            kind=NoticeKind.TEST,
            at_us=int(self._clock.time() * 1e6),
            namespace=call.namespace,
        )
        results = []
        for to in channels:
            result = await self._courier.carry(notice, to)
            reason = result.reason if isinstance(result, Unsent) else ""
            name = described(self._courier.channel(to))
            results.append(Tried(channel=name, ok=isinstance(result, Sent), reason=reason))
        return Reply(TestResult(message_id=notice.id, results=results))

    async def list_lost(self, call: Call) -> Reply:
        """Return what was given up, newest first."""
        query: LostQuery = call.query or LostQuery()
        start = offset_of(query.cursor)
        found = await self._lost.items(namespace=call.namespace)
        kept = sorted(found, key=lambda item: (-item[1].at_us, item[0]))
        end = start + query.limit
        return Reply(
            LostPage(
                lost=[_shown(lost) for _, lost in kept[start:end]],
                total=len(kept),
                next_cursor=str(end) if end < len(kept) else None,
            )
        )

    async def _channels(self, request: TestRequest, namespace: str) -> list[Addressed]:
        if request.channels:
            if any(_is_kept(text) for channel in request.channels for text in _secrets(channel)):
                raise Unprocessable(f"Give the channels in clear, or name the `job` that has them; {STARS} is no URL.")
            return [Addressed(key=f"given:{i}", channel=channel) for i, channel in enumerate(request.channels)]
        job = await self._jobs.get(request.job, namespace=namespace) if request.job else None
        if job is not None and job.spec.notify is None:
            raise Unprocessable(f"Job {job.name} has no `notify`; leave `job` out to test the server's channels.")
        _, channels = addressees(job, self._settings)
        if not channels:
            raise Unprocessable("There is no channel to test: give `channels`, or set notify.channels on the server.")
        return channels


def check_channels(settings: Settings) -> Callable[[Action, JobSpec, Principal], Awaitable[None]]:
    """Return the hook that refuses a job whose channels could never work: better told by day."""

    async def check(action: Action, spec: JobSpec, _: Principal) -> None:
        if spec.notify is None or action not in (Action.CREATE_JOB, Action.UPDATE_JOB):
            return
        for i, channel in enumerate(spec.notify.channels):
            check_channel(channel, f"notify.channels[{i}]", settings)

    return check


def check_channel(channel: Channel, path: str, settings: Settings) -> None:
    """Raise `JobInvalid` where `channel` cannot work on this server."""
    if isinstance(channel, NotifyEmail):
        if settings.smtp is None:
            raise JobInvalid(f"{path}: this server sends no mail; its administrator can set notify.smtp.", field=path)
        return
    _check(parse_url, channel.url, f"{path}.url")
    if isinstance(channel, NotifyWebhook) and channel.secret:
        _check(signing_keys, channel.secret, f"{path}.secret")


def _check(parse: Callable[[str], object], text: str, path: str) -> None:
    if _is_kept(text) or is_reference(text) or "${" in text:
        return
    try:
        parse(text)
    except ValueError as wrong:
        raise JobInvalid(f"{path} {wrong}.", field=path) from None


def _is_kept(text: str) -> bool:
    return text == STARS or text.startswith(SEALED_PREFIX)


def _secrets(channel: Channel) -> list[str]:
    texts = [getattr(channel, name, None) for name in ("url", "secret")]
    return [text for text in texts if text]


def _shown(lost: Lost) -> LostNotice:
    return LostNotice(
        id=lost.notice.id,
        event=lost.notice.kind,
        job_id=lost.notice.job_id,
        job_name=lost.notice.job_name,
        execution_id=lost.notice.execution_id,
        error=lost.notice.error,
        channel=lost.channel,
        reason=lost.reason,
        attempts=lost.attempts,
        happened_at=utc(lost.notice.at_us / 1e6),
        lost_at=utc(lost.at_us / 1e6),
    )


def endpoints(desk: Desk) -> list[Endpoint]:
    """Return the feature's routes."""
    return [
        Endpoint(
            "POST",
            "/api/v1/notify/test",
            desk.test,
            permission="notify:test",
            summary="Send a test message over the given channels, a job's, or the server's.",
            body=TestRequest,
            answers=TestResult,
            errors=(404, 422),
            tag="notify",
            operation="test_notify",
        ),
        Endpoint(
            "GET",
            "/api/v1/notify/lost",
            desk.list_lost,
            permission="notify:read",
            summary="Notices that could not be delivered and were given up, newest first.",
            query=LostQuery,
            answers=LostPage,
            tag="notify",
            operation="list_lost_notices",
        ),
    ]
