"""Those who wait until an execution has ended."""

from __future__ import annotations

import asyncio

from chronos.model.execution import Execution


class Waiters:
    """Futures by execution id; each is gone as soon as nobody waits on it."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[Execution]]] = {}

    async def wait(self, execution_id: str, seconds: float) -> Execution | None:
        """Return the execution as it ended, or None when it has not ended after `seconds`."""
        ended: asyncio.Future[Execution] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(execution_id, []).append(ended)
        try:
            async with asyncio.timeout(seconds):
                return await ended
        except TimeoutError:
            return None
        finally:
            waiting = self._waiting.get(execution_id, [])
            if ended in waiting:
                waiting.remove(ended)
            if not waiting:
                self._waiting.pop(execution_id, None)

    def tell(self, execution: Execution) -> None:
        """Wake everybody who waits for `execution`."""
        for ended in self._waiting.pop(execution.id, ()) if self._waiting else ():
            if not ended.done():
                ended.set_result(execution)
