"""What can be read of the feature: whom it would tell, and what is still on its way."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from chronos.errors import Invalid
from chronos.features.notify.courier import Courier, described
from chronos.features.notify.model import NoticeKind, Queued, Settings, kind_of
from chronos.features.notify.rules import addressees
from chronos.model.limits import JobName
from chronos.model.notify import NotifyOn
from chronos.plugin import Call, Collection, Endpoint, Jobs, Reply
from chronos.timing.clock import utc


class ChannelsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose channels: a job's, or else the server's."""

    job: JobName | None = None


class ChannelShown(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel without its credentials: its kind, and a webhook's host or the mail addresses."""

    type: str
    name: str


class ChannelList(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told of what.

    Attributes:
        source: `job` when the job says so itself, `server` when it says nothing.
        mail: Whether this server can send mail at all.
    """

    source: str
    on: list[NotifyOn]
    channels: list[ChannelShown]
    mail: bool


class WaitingQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, Meta(max_length=32)] = ""


class WaitingNotice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A notice that has not arrived yet.

    Attributes:
        attempts: Tries so far.
        next_try_at: Null when it goes out as soon as there is room.
    """

    id: str
    event: NoticeKind
    job_id: str
    job_name: str
    execution_id: str
    channel: str
    attempts: int
    queued_at: datetime
    next_try_at: datetime | None = None


class WaitingPage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Notices on their way, oldest first."""

    waiting: list[WaitingNotice]
    total: int
    next_cursor: str | None = None


class Overview:
    """Answers what can be read."""

    def __init__(self, settings: Settings, courier: Courier, waiting: Collection[Queued], jobs: Jobs) -> None:
        self._settings = settings
        self._courier = courier
        self._waiting = waiting
        self._jobs = jobs

    async def list_channels(self, call: Call) -> Reply:
        """Return the channels of a job, or the server's."""
        query: ChannelsQuery = call.query or ChannelsQuery()
        job = await self._jobs.get(query.job, namespace=call.namespace) if query.job else None
        on, addressed = addressees(job, self._settings)
        channels = [self._courier.channel(to) for to in addressed]
        return Reply(
            ChannelList(
                source="job" if job is not None and job.spec.notify is not None else "server",
                on=sorted(on),
                channels=[ChannelShown(type=kind_of(one), name=described(one)) for one in channels],
                mail=self._settings.smtp is not None,
            )
        )

    async def list_waiting(self, call: Call) -> Reply:
        """Return what has not arrived yet, oldest first."""
        query: WaitingQuery = call.query or WaitingQuery()
        start = offset_of(query.cursor)
        found = await self._waiting.items(namespace=call.namespace)
        kept = sorted((queued for _, queued in found), key=lambda queued: (queued.queued_at_us, queued.key))
        end = start + query.limit
        return Reply(
            WaitingPage(
                waiting=[self._shown(queued) for queued in kept[start:end]],
                total=len(kept),
                next_cursor=str(end) if end < len(kept) else None,
            )
        )

    def _shown(self, queued: Queued) -> WaitingNotice:
        return WaitingNotice(
            id=queued.notice.id,
            event=queued.notice.kind,
            job_id=queued.notice.job_id,
            job_name=queued.notice.job_name,
            execution_id=queued.notice.execution_id,
            channel=described(self._courier.channel(queued.to)),
            attempts=queued.attempts,
            queued_at=utc(queued.queued_at_us / 1e6),
            next_try_at=utc(queued.not_before_us / 1e6) if queued.not_before_us else None,
        )


def offset_of(cursor: str) -> int:
    """Return where a page begins; raises `Invalid` for a cursor that was never given out."""
    if cursor and not (cursor.isascii() and cursor.isdecimal()):
        raise Invalid("`cursor` is not one this server gave out; leave it out for the first page.", field="cursor")
    return int(cursor or 0)


def overview_endpoints(overview: Overview) -> list[Endpoint]:
    """Return the routes of what can be read."""
    return [
        Endpoint(
            "GET",
            "/api/v1/notify/channels",
            overview.list_channels,
            permission="notify:read",
            summary="Who is told when a job fails: a job's channels, or the server's.",
            query=ChannelsQuery,
            answers=ChannelList,
            errors=(404,),
            tag="notify",
            operation="list_notify_channels",
        ),
        Endpoint(
            "GET",
            "/api/v1/notify/waiting",
            overview.list_waiting,
            permission="notify:read",
            summary="Notices that have not arrived yet and are tried again, oldest first.",
            query=WaitingQuery,
            answers=WaitingPage,
            tag="notify",
            operation="list_waiting_notices",
        ),
    ]
