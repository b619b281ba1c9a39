"""A client of either kind on canned answers, with a clock that only moves when somebody waits."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import httpx2
import pytest

from chronos.client import AsyncClient, Client, Patience
from chronos.timing.clock import SeededChance

Answer = httpx2.Response | Exception


class Waiting:
    """A clock that waits cost nothing on."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def time(self) -> float:
        return 1_800_000_000.0

    def boottime(self) -> float:
        return sum(self.waits)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


class Wire:
    """Gives out the answers in order (the last one for ever) and keeps the requests."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.clock = Waiting()

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        # A response can be read once; each request gets its own.
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self.handle)

    def client(self, patience: Patience = Patience(), **more: Any) -> Client:  # noqa: B008 - frozen
        return Client(
            "http://127.0.0.1:1",
            patience=patience,
            transport=self.transport,
            clock=self.clock,
            chance=SeededChance(random.Random(7)),
            sleep=self.clock.sleep,
            **more,
        )

    def async_client(self, **more: Any) -> AsyncClient:
        return AsyncClient(
            "http://127.0.0.1:1",
            transport=self.transport,
            clock=self.clock,
            chance=SeededChance(random.Random(7)),
            sleep=self.clock.sleep_async,
            **more,
        )


@pytest.fixture
def wire() -> Callable[..., Wire]:
    return lambda *answers: Wire(answers)
