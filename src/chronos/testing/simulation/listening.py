"""Takes what the product logs, instead of printing it: its own errors, and secrets that slip out, are evidence."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NoReturn

import structlog

from chronos.errors import LogFailed, StorageFull
from chronos.testing.simulation.load import CANARY
from chronos.testing.simulation.loop import OWNER
from chronos.testing.simulation.world import World


@contextmanager
def listening(world: World) -> Iterator[None]:
    """Take what the product logs, instead of printing it; errors of its own are evidence."""
    before = structlog.get_config()

    def take(_logger: object, method: str, event: MutableMapping[str, Any]) -> NoReturn:
        if (method in ("exception", "critical") or event.get("exc_info")) and not _is_expected(event):
            world.complain(f"{event.get('event')}: {event.get('exc_info')!r} {event.get('reason', '')}")
        if CANARY in str(event):
            world.broken("I17", f"a credential was logged: {event.get('event')}")
        raise structlog.DropEvent

    handler = _Handler(world)
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, take])
    logging.getLogger("chronos").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("chronos").removeHandler(handler)
        structlog.configure(**before)


def _is_expected(event: MutableMapping[str, Any]) -> bool:
    """Whether it says that the disk failed, as a fault made it; or comes from a process that was killed."""
    owner = OWNER.get()
    storage = event.get("event") == "storage_failed" or isinstance(event.get("exc_info"), (LogFailed, StorageFull))
    return storage or (owner is not None and owner.dead)


class _Handler(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        if _is_expected({}):
            return
        self._world.complain(record.getMessage())
