"""Tells somebody: when a job has failed for good, is well again, or was missed."""

from __future__ import annotations

from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.references import SecretResolver
from chronos.features.notify.adapters.email import EmailSender
from chronos.features.notify.adapters.post import GuardedPost
from chronos.features.notify.adapters.slack import SlackSender
from chronos.features.notify.adapters.webhook import WebhookSender
from chronos.features.notify.courier import Courier, Senders
from chronos.features.notify.credentials import HouseCredentials
from chronos.features.notify.model import Digest, Failing, Lost, Queued, Settings
from chronos.features.notify.outbox import Outbox, Shelves
from chronos.features.notify.overview import Overview, overview_endpoints
from chronos.features.notify.port import Credentials
from chronos.features.notify.routes import Desk, check_channels, endpoints
from chronos.features.notify.service import HEARD, Listener
from chronos.model.events import EventType
from chronos.model.job import Job
from chronos.model.premises import Premises
from chronos.model.sealing import Sealer
from chronos.plugin import Host, Place, Where
from chronos.scheduler.outlook import Outlook

__all__ = ["Settings", "install"]


def install(host: Host, settings: Settings) -> None:
    """Listen on the leader with a durable cursor, send from an outbox, serve the routes.

    The guard at the way out and the outlook are asked for when they are first needed: they are built after
    the features. Without a guard nothing leaves.

    Raises:
        ConfigInvalid: The settings do not fit together.
    """
    settings.check()
    if host.place is Place.WORKER:
        return
    shelves = Shelves(
        waiting=host.collection("notify-outbox", Queued),
        digests=host.collection("notify-digests", Digest),
        lost=host.collection("notify-lost", Lost),
    )
    courier = Courier(settings, credentials := _credentials(host), _senders(host, settings, credentials))
    host.admit(check_channels(settings))
    desk = Desk(settings, courier, shelves.lost, host.jobs, host.clock, host.chance)
    overview = Overview(settings, courier, shelves.waiting, host.jobs)
    for endpoint in (*endpoints(desk), *overview_endpoints(overview)):
        host.endpoint(endpoint)
    if host.place is Place.MAIN:
        outbox = Outbox(
            shelves,
            courier,
            host.clock,
            host.telemetry,
            max_attempts=settings.max_attempts,
            max_per_5m=settings.max_per_5m,
        )
        _listen(host, settings, outbox)


def _listen(host: Host, settings: Settings, outbox: Outbox) -> None:
    failing = host.collection("notify-failing", Failing)
    listener = Listener(settings, outbox, failing, host.jobs, _Later(host))
    host.service(outbox)
    host.on({EventType.LEADER_CHANGED}, listener.stand_down)
    host.on(HEARD, listener.on_event, where=Where.LEADER, durable="notify", wants=listener.wants)


def _credentials(host: Host) -> Credentials:
    premises = host.require(Premises)  # type: ignore[type-abstract]  # capabilities are looked up by Protocol
    resolver = host.require(SecretResolver)  # type: ignore[type-abstract]
    return HouseCredentials(Sealer(premises.key("credentials"), host.chance), resolver)


def _senders(host: Host, settings: Settings, credentials: Credentials) -> Senders:
    egress, url = _Later(host), settings.console_url
    post = GuardedPost(egress, host.clock)

    async def password() -> str | None:
        given = settings.smtp.password if settings.smtp is not None else None
        return await credentials.open("default", "", "notify.smtp.password", given) if given else None

    return Senders(
        webhook=WebhookSender(post, host.clock, url),
        slack=SlackSender(post, url),
        email=EmailSender(settings.smtp, egress, host.clock, password, url),
    )


class _Later:
    """The capabilities that the core offers only after the features are installed."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def vetted(self, host: str, port: int, *, by_administrator: bool = False) -> list[str]:
        return await self._host.require(EgressGuard).vetted(host, port, by_administrator=by_administrator)

    def next_run(self, job: Job, after_s: int) -> int | None:
        return self._host.require(Outlook).next_run(job, after_s)
