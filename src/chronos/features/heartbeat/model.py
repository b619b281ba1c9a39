"""What the heartbeat is set to, and what the API says about it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from chronos.dispatch.http.url import parse_url
from chronos.errors import ConfigInvalid
from chronos.model.limits import DurationText
from chronos.timing.duration import SECOND_US, parse_duration

INTERVAL_MIN_S, INTERVAL_MAX_S = 5, 86_400
TIMEOUT_MIN_S, TIMEOUT_MAX_S = 0.1, 60
_REFERENCE = "${"

Address = Annotated[str, Meta(max_length=4_096)]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who outside is told that this server schedules.

    Attributes:
        url: Asked with GET while planning goes on; without it nobody is told. May hold `${secret:…}`.
        fail_url: Told with POST, the reason as its body, while the process lives and planning does not go on.
        interval: From one ping to the next, 5 s to 1 d.
        timeout: Bounds one ping, 100 ms to 1 m.
    """

    url: Address | None = None
    fail_url: Address | None = None
    interval: DurationText = "1m"
    timeout: DurationText = "10s"

    @property
    def interval_s(self) -> float:
        return parse_duration(self.interval) / SECOND_US

    @property
    def timeout_s(self) -> float:
        return parse_duration(self.timeout) / SECOND_US

    def check(self) -> None:
        """Raise what cannot work, naming the key.

        Raises:
            ConfigInvalid: An address is none, or a length of time is out of bounds.
        """
        _check_span("interval", self.interval_s, INTERVAL_MIN_S, INTERVAL_MAX_S)
        _check_span("timeout", self.timeout_s, TIMEOUT_MIN_S, TIMEOUT_MAX_S)
        _check_url("url", self.url)
        _check_url("fail_url", self.fail_url)
        if self.fail_url and not self.url:
            raise ConfigInvalid("`heartbeat.fail_url` needs `heartbeat.url`.", field="heartbeat.url")


class Heartbeat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether somebody outside knows that this server schedules. The address itself is a secret.

    Attributes:
        configured: Whether anybody is told.
        scheduling: Whether planning goes on now; `trouble` says why not.
        last_sent_at: When a ping last arrived; null when none has since the start.
        last_error: Why the newest one did not arrive; empty when it did.
    """

    configured: bool
    interval: str
    scheduling: bool
    trouble: str = ""
    last_sent_at: datetime | None = None
    last_error: str = ""


def _check_span(name: str, seconds: float, least: float, most: float) -> None:
    if not least <= seconds <= most:
        raise ConfigInvalid(f"`heartbeat.{name}` must lie between {least:g}s and {most:g}s.", field=f"heartbeat.{name}")


def _check_url(name: str, url: str | None) -> None:
    if not url or _REFERENCE in url:
        return  # what a reference stands for is known when it is needed
    try:
        parse_url(url)
    except ValueError as wrong:
        raise ConfigInvalid(f"`heartbeat.{name}` {wrong}", field=f"heartbeat.{name}") from None
