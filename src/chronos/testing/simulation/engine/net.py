"""What lies between the machines: every message takes a while, and some never come."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import Context


class Net:
    """The network. A message is lost silently: whoever waits for an answer has to have a deadline.

    Attributes:
        cut: Pairs (from, to) between which nothing arrives; one direction at a time.
        loss: The part of all messages between machines that is lost.
        slow_s: Up to so many seconds later each message arrives, on top of what it takes anyway.
    """

    def __init__(self, draw: random.Random) -> None:
        self.cut: set[tuple[str, str]] = set()
        self.loss = 0.0
        self.slow_s = 0.0
        self._draw = draw

    def heal(self) -> None:
        """Let everything through again."""
        self.cut.clear()
        self.loss = self.slow_s = 0.0

    def isolate(self, one: str, others: list[str], *, in_and_out: tuple[bool, bool] = (True, True)) -> None:
        """Cut a machine off from others: what comes in to it, what goes out, or both."""
        comes, goes = in_and_out
        for other in others:
            if other != one and comes:
                self.cut.add((other, one))
            if other != one and goes:
                self.cut.add((one, other))

    def latency(self) -> float:
        """Return how long the next message takes, in seconds."""
        return 0.0004 + 0.0012 * self._draw.random() + self.slow_s * self._draw.random()

    def loses(self, frm: str, to: str) -> bool:
        """Draw whether the next message is lost."""
        return frm != to and ((frm, to) in self.cut or (self.loss > 0 and self._draw.random() < self.loss))

    def carry(self, frm: str, to: str, arrive: Callable[[], None], context: Context) -> None:
        """Let `arrive` be called at the other end, in its context, unless the message is lost."""
        if self.loses(frm, to):
            return
        asyncio.get_running_loop().call_later(self.latency(), arrive, context=context)
