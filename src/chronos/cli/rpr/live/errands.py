"""What only the main thread may do, done there for the engine's."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue

from chronos.repeater.patterns import Patterns, Verdict, judge


class Errands:
    """Looks for patterns on the main thread: only that can be stopped when a search takes too long.

    Attributes:
        wake: Called from the other thread when there is something to do; a hint that may be missed where the main
            thread looks by itself.
    """

    def __init__(self) -> None:
        self._asked: SimpleQueue[tuple[Future[Verdict], Patterns, str]] = SimpleQueue()
        self.wake: Callable[[], None] = lambda: None

    def judge(self, patterns: Patterns, text: str) -> Verdict:
        """Return what the patterns say; asked on another thread, it waits until the main one has answered."""
        answer: Future[Verdict] = Future()
        self._asked.put((answer, patterns, text))
        self.wake()
        return answer.result()

    def serve(self, wait_s: float = 0.0) -> None:
        """Do on the main thread what was asked for; wait so long for it. One thing at a time: who asks, waits."""
        try:
            answer, patterns, text = self._asked.get(timeout=wait_s) if wait_s else self._asked.get_nowait()
        except Empty:
            return
        try:
            answer.set_result(judge(patterns, text))
        finally:
            if not answer.done():
                answer.cancel()  # who waits must not wait for ever
