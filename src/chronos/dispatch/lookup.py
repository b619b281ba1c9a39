"""Names to addresses, by the system's resolver."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

LOOKUPS_MAX = 32
"""How many name look-ups may run at a time, a hanging one included until it ends."""


class SystemLookup:
    """The system's resolver, on threads of its own so that a hanging look-up starves nobody else.

    Whoever asks for a name that is being looked up waits for the same answer: a thousand jobs of one host whose
    name server is silent hold one thread, and leave the others to other names.
    """

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._slots = asyncio.Semaphore(LOOKUPS_MAX)
        self._asked: dict[str, asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        if (answer := self._asked.get(host)) is None:
            await self._slots.acquire()
            answer = self._asked.get(host)
            if answer is None:
                answer = self._ask(host)
            else:
                self._slots.release()  # somebody else has begun while this one waited
        return await asyncio.shield(answer)

    def _ask(self, host: str) -> asyncio.Future[list[str]]:
        threads = self._threads = self._threads or ThreadPoolExecutor(LOOKUPS_MAX, thread_name_prefix="lookup")
        answer = self._asked[host] = asyncio.get_running_loop().run_in_executor(threads, addresses_of, host)
        # The slot is given back when the look-up ends, not when its caller has lost patience.
        answer.add_done_callback(partial(self._give_back, host))
        return answer

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def _give_back(self, host: str, answer: asyncio.Future[list[str]]) -> None:
        self._slots.release()
        del self._asked[host]
        if not answer.cancelled():
            answer.exception()  # looked at, so that an abandoned failure is not reported as unseen


def addresses_of(host: str) -> list[str]:
    """Return every address the system's resolver has for `host`, best first. Blocks.

    Raises:
        OSError: It has none.
    """
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
