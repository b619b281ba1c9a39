"""Which TLS session the next connection resumes."""

from __future__ import annotations

import asyncio
import ssl
from types import SimpleNamespace
from typing import Any, cast

from chronos.dispatch.http.sessions import SESSION_S, SESSIONS_MAX, Place, Sessions
from chronos.testing import VirtualClock, virtual_time

HERE: Place = ("https", "a.test", 443, True)
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def tls(*, has_ticket: bool = True, reused: bool = False) -> ssl.SSLObject:
    session = SimpleNamespace(has_ticket=has_ticket, id=b"")
    return cast(ssl.SSLObject, SimpleNamespace(session=session, session_reused=reused))


def resumes(sessions: Sessions, place: Place) -> bool:
    return sessions.context(place, CONTEXT) is not CONTEXT


@virtual_time
async def test_a_session_is_resumed_at_its_own_place_only() -> None:
    sessions = Sessions(VirtualClock())
    sessions.keep(HERE, tls())
    assert resumes(sessions, HERE)
    for elsewhere in (("https", "b.test", 443, True), ("https", "a.test", 444, True), ("https", "a.test", 443, False)):
        assert not resumes(sessions, elsewhere)


@virtual_time
async def test_resuming_does_not_make_a_session_younger() -> None:
    sessions = Sessions(VirtualClock())
    sessions.keep(HERE, tls())
    await asyncio.sleep(SESSION_S - 1)
    assert resumes(sessions, HERE)
    sessions.keep(HERE, tls(reused=True))
    await asyncio.sleep(2)
    assert not resumes(sessions, HERE)


@virtual_time
async def test_a_session_that_cannot_be_resumed_is_not_kept() -> None:
    sessions = Sessions(VirtualClock())
    sessions.keep(HERE, tls(has_ticket=False))
    sessions.keep(HERE, cast(ssl.SSLObject, SimpleNamespace(session=None, session_reused=False)))
    assert not resumes(sessions, HERE)


@virtual_time
async def test_the_places_used_longest_ago_are_forgotten() -> None:
    sessions = Sessions(VirtualClock())
    for port in range(SESSIONS_MAX + 10):
        sessions.keep(("https", "a.test", port, True), tls())
    kept = [port for port in range(SESSIONS_MAX + 10) if resumes(sessions, ("https", "a.test", port, True))]
    assert kept == list(range(10, SESSIONS_MAX + 10))


@virtual_time
async def test_what_stands_in_for_a_context_hands_the_session_over() -> None:
    given: dict[str, Any] = {}

    class Context:
        def wrap_bio(self, incoming: object, outgoing: object, **options: object) -> str:
            given.update(options)
            return "wrapped"

    sessions = Sessions(VirtualClock())
    sessions.keep(HERE, kept := tls())
    resuming = sessions.context(HERE, cast(ssl.SSLContext, Context()))
    assert cast(str, resuming.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a.test")) == "wrapped"
    assert given == {"server_hostname": "a.test", "session": kept.session}
