"""A message to a Slack incoming webhook.

Source: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from __future__ import annotations

import msgspec

from chronos.features.notify.adapters.post import GuardedPost
from chronos.features.notify.model import Notice
from chronos.features.notify.port import Result
from chronos.features.notify.texts import slack
from chronos.model.notify import NotifySlack


class SlackSender:
    """Posts Block Kit. Slack knows no idempotency key: a message sent twice is seen twice, with the same id in it."""

    def __init__(self, post: GuardedPost, console_url: str | None = None) -> None:
        self._post = post
        self._console_url = console_url

    async def send(self, notice: Notice, channel: NotifySlack) -> Result:
        return await self._post.post(channel.url, msgspec.json.encode(slack(notice, self._console_url)), {})
