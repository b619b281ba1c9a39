"""The typed SDK: `Client` blocks, `AsyncClient` is awaited; both follow the same rules.

A first use:

    with Client("http://127.0.0.1:8080") as chronos:
        job = chronos.create_job({"name": "hello", "schedule": "@hourly", "webhook": {"url": "http://…"}})
        run = chronos.trigger_job(job.id, wait="30s")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chronos.client.answers import (
        AttemptAnswer,
        ExecutionAnswer,
        ExecutionPage,
        JobAnswer,
        JobPage,
        LastExecutionAnswer,
        PauseAnswer,
        SchedulePreview,
        Whoami,
    )
    from chronos.client.asynchronous import AsyncClient
    from chronos.client.blocking import Client
    from chronos.client.callback import AsyncCallback, Callback, Reported
    from chronos.client.exchange import Patience
    from chronos.client.operation import Operation
    from chronos.client.problems import ServerFailed, UnknownAnswer
    from chronos.client.wire import StreamEvent

__all__ = [
    "AsyncCallback",
    "AsyncClient",
    "AttemptAnswer",
    "Callback",
    "Client",
    "ExecutionAnswer",
    "ExecutionPage",
    "JobAnswer",
    "JobPage",
    "LastExecutionAnswer",
    "Operation",
    "Patience",
    "PauseAnswer",
    "Reported",
    "SchedulePreview",
    "ServerFailed",
    "StreamEvent",
    "UnknownAnswer",
    "Whoami",
]

_HOMES = {
    "AsyncCallback": "callback",
    "AsyncClient": "asynchronous",
    "Callback": "callback",
    "Client": "blocking",
    "Patience": "exchange",
    "Operation": "operation",
    "Reported": "callback",
    "ServerFailed": "problems",
    "UnknownAnswer": "problems",
    "StreamEvent": "wire",
}


def __getattr__(name: str) -> object:
    # The HTTP library takes 100 ms to load; whoever only builds operations does not wait for it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'answers')}"), name)
