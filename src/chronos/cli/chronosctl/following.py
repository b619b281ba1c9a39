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


class Told:
    """What of a stream was told before, so that a stream that begins anew repeats nothing."""

    def __init__(self) -> None:
        self._bytes: dict[int, int] = {}
        self._ended = 0
        self._progress: Document | None = None

    def news(self, event: str, data: Document) -> Document | None:
        """Return what of an event is new; None when nothing is."""
        if event == "log" and data["attempt"] > self._ended:
            self._ended = data["attempt"]
            return {"event": event, **data}
        if event == "output":
            return self._news_of_output(data)
        if event == "progress" and data != self._progress and data["attempt"] > self._ended:
            self._progress = data
            return {"event": event, **data}
        return None

    def _news_of_output(self, data: Document) -> Document | None:
        attempt, offset, text = data["attempt"], data["offset"], data["text"].encode()
        seen = self._bytes.get(attempt, 0)
        fresh = text[max(0, seen - offset) :]
        self._bytes[attempt] = max(seen, offset + len(text))
        return {"event": "output", **data, "offset": max(seen, offset), "text": fresh.decode()} if fresh else None


def follow_logs(session: Session, ref: str, *, sleep: Callable[[float], object] | None = None) -> Iterator[Document]:
    """Yield what an execution writes, and at its end `end`.

    While a program prints `output`, as the target of a long job reports `progress`, after each attempt `log`.
    A stream that breaks off, or that the server ends before the execution has ended, is taken up again; everything
    is told once all the same.

    Raises:
        Unavailable: The server cannot say any more how the execution stands.
    """
    told = Told()
    while True:
        try:
            # A new stream begins with the first attempt again.
            for event in session.client.stream(ops.execution_logs(ref, follow=True), reconnect=False):
                if (news := told.news(event.event, event.data)) is not None:
                    yield news
        except Unavailable:
            pass  # quiet for long, or broken: what follows says whether the server is there
        status = session.fetch(ops.execution(ref))["status"]
        if status in ENDED:
            yield {"event": "end", "status": status}
            return
        (sleep or Event().wait)(POLL_S)
