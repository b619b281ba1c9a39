"""Health and metrics of a repetition, where they were asked for."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from chronos import __version__
from chronos.cli.rpr.asked import Asked
from chronos.repeater import observing
from chronos.repeater.agenda import Agenda
from chronos.repeater.engine import Listener
from chronos.repeater.serving import Page, served
from chronos.timing.clock import Clock

HEALTH_PORT = 8080
METRICS_PORT = 9090


def observe(asked: Asked, agenda: Agenda, clock: Clock, stack: contextlib.ExitStack) -> Listener:
    """Start the servers, and return what tells them.

    Raises:
        Invalid: One of them cannot listen.
    """
    observer = observing.Observer(lambda: (agenda.wake_s(0) or 0.0) - clock.boottime())
    address = asked.get("address", "127.0.0.1")
    if asked.is_on("health_enabled"):
        port = asked.get("health_port", HEALTH_PORT)
        stack.enter_context(served("health", address, port, _health_pages(observer, clock)))
    if asked.is_on("metrics_enabled"):
        limits_rate = asked.subcommand.name == "rate-limit"
        page = _metrics_page(observer, limits_rate=limits_rate)
        port = asked.get("metrics_port", METRICS_PORT)
        stack.enter_context(served("metrics", address, port, {"/metrics": page}))
    return observer


def _health_pages(observer: observing.Observer, clock: Clock) -> dict[str, Page]:
    began_s = clock.boottime()

    def health() -> tuple[int, dict[str, Any]]:
        uptime_s = clock.boottime() - began_s
        return observing.health(observer.figures, version=__version__, uptime_s=uptime_s, wall_s=clock.time())

    return {
        "/health": _json(health),
        "/ready": _json(lambda: observing.ready(clock.time())),
        "/live": _json(lambda: observing.live(clock.time())),
    }


def _metrics_page(observer: observing.Observer, *, limits_rate: bool) -> Page:
    def page() -> tuple[int, str, bytes]:
        text = observing.metrics(observer.figures, limits_rate=limits_rate)
        return 200, "text/plain; version=0.0.4; charset=utf-8", text.encode()

    return page


def _json(made: Callable[[], tuple[int, dict[str, Any]]]) -> Page:
    def page() -> tuple[int, str, bytes]:
        status, body = made()
        return status, "application/json", json.dumps(body).encode() + b"\n"

    return page
