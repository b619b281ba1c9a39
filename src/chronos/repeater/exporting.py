"""Sends spans to a collector, in a thread of its own. Whoever repeats never waits for it, but once, at the end."""

from __future__ import annotations

import http.client
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

QUEUE_MAX = 2_048
"""Spans that may wait; those that come while so many do are lost, and counted."""

BATCH_MAX = 512
GATHER_S = 1.0
REQUEST_S = 5.0
TRIES_MAX = 4
PAUSE_S, PAUSE_S_MAX = 1.0, 30.0
LAST_S = 2.0

ANSWER_BYTES_MAX = 65_536
AGAIN = {429, 502, 503, 504}


class Collector(NamedTuple):
    """Where spans go.

    Attributes:
        path: With `/v1/traces`.
        headers: Those of the user, such as a key.
    """

    host: str
    port: int
    path: str
    is_tls: bool = False
    headers: Mapping[str, str] = {}

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}{self.path}"


class Answer(NamedTuple):
    """What came of a request.

    Attributes:
        error: What went wrong; empty when nothing did.
        again: Whether to ask again, and after how many seconds at least.
        refused: Spans that the collector did not want, though it took the others.
    """

    error: str = ""
    again: bool = False
    after_s: float = 0.0
    refused: int = 0


Post = Callable[[bytes], Answer]


class Exporter:
    """Takes spans at once, sends them later. Bounded in memory, in tries, and in how long its end takes.

    Args:
        made: Puts a request together from spans.
        post: Sends it.
        gather_s: How long spans are gathered before they are sent together.
        pause_s: Before the second try; each pause is twice the one before.
        last_s: How long the end may be put off for what has not been sent.
    """

    def __init__(
        self,
        made: Callable[[Sequence[bytes]], bytes],
        post: Post,
        *,
        gather_s: float = GATHER_S,
        pause_s: float = PAUSE_S,
        last_s: float = LAST_S,
    ) -> None:
        self._made = made
        self._post = post
        self._gather_s = gather_s
        self._pause_s = pause_s
        self._last_s = last_s
        self._condition = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._ending = threading.Event()
        self._added = 0
        self._arrived = 0
        self._error = ""
        self._thread = threading.Thread(target=self._work, name="rpr-spans", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> tuple[int, str]:
        """How many spans have not arrived so far, and why the last of them has not, as far as it is known."""
        with self._condition:
            return self._added - self._arrived, self._error

    def add(self, span: bytes) -> None:
        """Take a span; with too many waiting it is lost. Never waits for the network."""
        with self._condition:
            self._added += 1
            if len(self._waiting) >= QUEUE_MAX:
                self._error = self._error or "more came than could be sent"
                return
            self._waiting.append(span)
            if len(self._waiting) in (1, BATCH_MAX):
                self._condition.notify()

    def close(self) -> None:
        """Send what is left, for `last_s` at most. Closing twice is no error."""
        self._ending.set()
        with self._condition:
            self._condition.notify()
        self._thread.join(self._last_s)
        with self._condition:
            if self._thread.is_alive():
                self._error = self._error or "no answer"

    def _work(self) -> None:
        while batch := self._batch():
            answer = self._deliver(self._made(batch))
            with self._condition:
                self._error = answer.error or self._error
                self._arrived += 0 if answer.error and not answer.refused else max(0, len(batch) - answer.refused)

    def _batch(self) -> list[bytes]:
        """Return what to send next; nothing when it is over."""
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._ending.is_set())
            self._condition.wait_for(lambda: len(self._waiting) >= BATCH_MAX or self._ending.is_set(), self._gather_s)
            return [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]

    def _deliver(self, body: bytes) -> Answer:
        """Return what came of it in the end. Once it is ending, each batch has one more try."""
        pause_s, answer = self._pause_s, Answer()
        for _ in range(TRIES_MAX):
            is_last = self._ending.is_set()
            answer = self._post(body)
            if is_last or not answer.again:
                break
            self._ending.wait(min(max(pause_s, answer.after_s), PAUSE_S_MAX))
            pause_s *= 2
        return answer


def post_to(collector: Collector, timeout_s: float = REQUEST_S) -> Post:
    """Return what sends a request to a collector. It does not follow redirects."""
    kind = http.client.HTTPSConnection if collector.is_tls else http.client.HTTPConnection
    headers = {**collector.headers, "Content-Type": "application/json", "User-Agent": "rpr"}

    def post(body: bytes) -> Answer:
        connection = kind(collector.host, collector.port, timeout=timeout_s)
        try:
            connection.request("POST", collector.path, body, headers)
            answered = connection.getresponse()
            said = answered.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as exc:
            why = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc) or type(exc).__name__
            return Answer(why, again=True)
        finally:
            connection.close()
        return read_answer(answered.status, answered.getheader("Retry-After") or "", said)

    return post


def read_answer(status: int, retry_after: str, said: bytes) -> Answer:
    """Return what a collector's answer means."""
    if status // 100 == 2:
        refused = _refused(said)
        return Answer(f"the collector refused {refused}" if refused else "", refused=refused)
    is_number = retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10
    return Answer(f"HTTP {status}", again=status in AGAIN, after_s=float(retry_after) if is_number else 0.0)


def _refused(said: bytes) -> int:
    """Return how many spans an answer says were refused. One that is no JSON has nothing to say about that."""
    try:
        return max(0, int(json.loads(said)["partialSuccess"]["rejectedSpans"]))
    except (ValueError, LookupError, TypeError, RecursionError):
        return 0
