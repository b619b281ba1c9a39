"""The request of those that run coroutines: one aiohttp session for all, with as many connections as run at once."""

from __future__ import annotations

import aiohttp
from hook import AT_ONCE, headers

_sessions: list[aiohttp.ClientSession] = []


async def fire(url: str, job: str, due: float) -> None:
    """Send the webhook; an answer that is none of success is an error."""
    if not _sessions:
        _sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)))
    async with _sessions[0].post(url, data=b"{}", headers=headers(job, due)) as answer:
        await answer.read()
        answer.raise_for_status()
