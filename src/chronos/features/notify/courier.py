"""Takes one notice to one channel: finds the channel, opens its credentials, chooses the sender."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from msgspec.structs import replace

from chronos.errors import ChronosError
from chronos.features.notify.model import Addressed, Notice, Settings, kind_of
from chronos.features.notify.port import Credentials, Result, Sender, Unsent
from chronos.model.notify import Channel, NotifyEmail, NotifySlack, NotifyWebhook
from chronos.model.secret import is_reference


@dataclass(frozen=True)
class Senders:
    """One for each kind of channel."""

    webhook: Sender[NotifyWebhook]
    slack: Sender[NotifySlack]
    email: Sender[NotifyEmail]


class Courier:
    """Delivers once; what becomes of it is a value."""

    def __init__(self, settings: Settings, credentials: Credentials, senders: Senders) -> None:
        self._settings = settings
        self._credentials = credentials
        self._senders = senders

    def channel(self, to: Addressed) -> Channel | None:
        """Return the channel as it is written down, or None when the settings no longer have it."""
        if to.channel is not None:
            return to.channel
        index = int(to.key.rpartition(":")[2])
        return self._settings.channels[index] if index < len(self._settings.channels) else None

    async def carry(self, notice: Notice, to: Addressed) -> Result:
        """Send `notice` to `to`, once."""
        channel = self.channel(to)
        if channel is None:
            return Unsent("the channel is no longer in the server's configuration", permanent=True)
        try:
            return await self._send(notice, channel, to)
        except ChronosError as unopened:
            # Worth another try: a secret that is missing now may be put in place within the hour.
            return Unsent(str(unopened))

    async def _send(self, notice: Notice, channel: Channel, to: Addressed) -> Result:
        match channel:
            case NotifyWebhook():
                url = await self._open(to, "url", channel.url)
                secret = await self._open(to, "secret", channel.secret) if channel.secret else None
                return await self._senders.webhook.send(notice, replace(channel, url=url, secret=secret))
            case NotifySlack():
                url = await self._open(to, "url", channel.url)
                return await self._senders.slack.send(notice, replace(channel, url=url))
            case NotifyEmail():
                return await self._senders.email.send(notice, channel)

    async def _open(self, to: Addressed, field: str, text: str) -> str:
        return await self._credentials.open(to.namespace, to.job_id, f"{to.path}.{field}", text)


def described(channel: Channel | None) -> str:
    """Return a channel for people: never its credentials, of a webhook's URL only the host."""
    match channel:
        case NotifyWebhook() if not is_reference(channel.url):
            return f"webhook {urlsplit(channel.url).hostname or ''}".strip()
        case NotifyEmail():
            return f"email {', '.join(channel.to)}"
    return kind_of(channel)
