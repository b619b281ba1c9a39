"""Whom to tell when something goes wrong, and when it is well again."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from chronos.model.limits import Url
from chronos.model.secret import Credential


class NotifyOn(StrEnum):
    """What is worth a message."""

    FAILURE = "failure"
    RECOVERY = "recovery"
    MISSED = "missed"


class NotifyWebhook(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="webhook"):
    """A POST with the event as JSON, signed as Standard Webhooks says when a secret is given."""

    url: Url
    secret: Credential | None = None


class NotifySlack(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="slack"):
    """A message to a Slack incoming webhook; its URL is a credential."""

    url: Credential


class NotifyEmail(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="email"):
    """A plain mail, sent through the server's `notify.smtp`."""

    to: Annotated[
        list[Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^@\s<>]+@[^@\s<>]+$")]],
        Meta(min_length=1, max_length=20),
    ]


Channel = NotifyWebhook | NotifySlack | NotifyEmail


class Notify(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """On which events, over which channels."""

    on: Annotated[list[NotifyOn], Meta(min_length=1, max_length=3)] = field(
        default_factory=lambda: [NotifyOn.FAILURE, NotifyOn.RECOVERY, NotifyOn.MISSED]
    )
    channels: Annotated[list[Channel], Meta(min_length=1, max_length=10)]
