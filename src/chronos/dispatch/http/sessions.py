"""TLS sessions kept for the next connection to the same place: resuming costs a third of a handshake."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from typing import Any

from chronos.timing.clock import Clock

SESSIONS_MAX = 1_024
SESSION_S = 600.0
"""How long a session is resumed: for that long a certificate that was good is not looked at again."""

Place = tuple[str, str, int, bool]
"""Scheme, host, port, and whether the certificate is checked. A session is never taken to another place."""


class Sessions:
    """Sessions by place, the one used last longest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[Place, tuple[float, ssl.SSLSession]] = OrderedDict()

    def keep(self, place: Place, tls: ssl.SSLObject) -> None:
        """Keep the session of a connection whose first answer has been read; TLS 1.3 sends it after the handshake.

        A session that was itself resumed keeps its age.
        """
        session = tls.session
        if session is None or not (session.has_ticket or session.id) or (tls.session_reused and place in self._kept):
            return
        self._kept[place] = (self._clock.boottime(), session)
        self._kept.move_to_end(place)
        if len(self._kept) > SESSIONS_MAX:
            self._kept.popitem(last=False)

    def context(self, place: Place, context: ssl.SSLContext) -> ssl.SSLContext:
        """Return `context`, or what stands in for it on a connection that resumes a session."""
        born, session = self._kept.get(place, (0.0, None))
        if session is None:
            return context
        if self._clock.boottime() - born > SESSION_S:
            del self._kept[place]
            return context
        return _Resuming(context, session)  # type: ignore[return-value]  # all that the event loops call

    def forget(self, place: Place) -> None:
        """Forget a session; the next handshake is a whole one."""
        self._kept.pop(place, None)

    def clear(self) -> None:
        """Forget them all."""
        self._kept.clear()


class _Resuming:
    """A context for one connection. Neither event loop has a parameter for a session; both ask for `wrap_bio`."""

    def __init__(self, context: ssl.SSLContext, session: ssl.SSLSession) -> None:
        self._context = context
        self._session = session

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **options: Any) -> ssl.SSLObject:
        return self._context.wrap_bio(incoming, outgoing, **options, session=self._session)
