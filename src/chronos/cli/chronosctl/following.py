"""Following what an execution writes, attempt by attempt, until it has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

from chronos.cli.chronosctl.session import Session
from chronos.cli.chronosctl.waiting import ENDED, POLL_S
from chronos.client import operations as ops
from chronos.errors import Unavailable

Document = dict[str, Any]


def follow_logs(session: Session, ref: str, *, sleep: Callable[[float], object] | None = None) -> Iterator[Document]:
    """Yield `{"event": "log", …}` once for each attempt and `{"event": "end", "status": …}` when there is no more.

    A stream that breaks off, or that the server ends before the execution has ended, is taken up again; each
    attempt is told once all the same.

    Raises:
        Unavailable: The server cannot say any more how the execution stands.
    """
    told = 0
    while True:
        try:
            # A new stream begins with the first attempt again.
            for event in session.client.stream(ops.execution_logs(ref, follow=True), reconnect=False):
                if event.event == "log" and event.data["attempt"] > told:
                    told = event.data["attempt"]
                    yield {"event": "log", **event.data}
        except Unavailable:
            pass  # quiet for long, or broken: what follows says whether the server is there
        status = session.fetch(ops.execution(ref))["status"]
        if status in ENDED:
            yield {"event": "end", "status": status}
            return
        (sleep or Event().wait)(POLL_S)
