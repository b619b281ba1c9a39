"""One POST through the egress guard: what webhooks and Slack have in common."""

from __future__ import annotations

import asyncio
import ssl
from functools import cached_property

import httpx2

import chronos
from chronos.dispatch.egress import LookupFailed
from chronos.dispatch.http.tls import tls_context
from chronos.dispatch.http.url import HttpUrl, parse_url
from chronos.errors import EgressRefused
from chronos.features.notify.port import Egress, Result, Sent, Unsent
from chronos.timing.clock import Clock
from chronos.timing.pace import parse_retry_after

DEADLINE_S = 10.0
ADDRESSES_TRIED_MAX = 3

# Asking these again is worth it; every other 4xx says the request itself is wrong.
_RETRYABLE = frozenset({408, 425, 429})


class GuardedPost:
    """Posts to vetted addresses only. No proxy, no redirects, no connection kept, no answer read.

    Args:
        tls: Certificates to trust; the system's by default.
    """

    def __init__(self, egress: Egress, clock: Clock, *, tls: ssl.SSLContext | None = None) -> None:
        self._egress = egress
        self._clock = clock
        self._given_tls = tls

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Result:
        """Post once, within ten seconds. The reason of an `Unsent` names the host and never the URL."""
        try:
            parsed = parse_url(url)
        except ValueError as wrong:
            return Unsent(f"the channel's URL {wrong}", permanent=True)
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._vetted(parsed, body, headers)
        except TimeoutError:
            return Unsent(f"{parsed.host} did not answer in {DEADLINE_S:g} s")
        except EgressRefused as refused:
            return Unsent(str(refused), permanent=True)
        except LookupFailed as failed:
            return Unsent(str(failed))
        except (httpx2.RequestError, OSError) as failed:  # TLS that breaks after the handshake is no RequestError
            return Unsent(f"{parsed.host}: {type(failed).__name__}")

    async def _vetted(self, url: HttpUrl, body: bytes, headers: dict[str, str]) -> Result:
        addresses = (await self._egress.vetted(url.host, url.port))[:ADDRESSES_TRIED_MAX]
        # A client for each message: they are rare, and a kept connection would skip the guard.
        async with httpx2.AsyncClient(
            verify=self._tls, trust_env=False, follow_redirects=False, timeout=None
        ) as client:
            for address in addresses[:-1]:
                try:
                    return await self._post(client, url, address, body, headers)
                except httpx2.ConnectError:
                    continue
            return await self._post(client, url, addresses[-1], body, headers)

    async def _post(
        self, client: httpx2.AsyncClient, url: HttpUrl, address: str, body: bytes, headers: dict[str, str]
    ) -> Result:
        # Connected to the address that was vetted; certificate and Host are those of the name.
        literal = f"[{address}]" if ":" in address else address
        own = {
            "Host": url.authority,
            "User-Agent": f"Chronos/{chronos.__version__}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
        }
        request = client.stream(
            "POST",
            f"{url.scheme}://{literal}:{url.port}{url.target}",
            content=body,
            headers=own | headers,
            extensions={"sni_hostname": url.host},
        )
        async with request as response:
            return self._judged(url.host, response)

    def _judged(self, host: str, response: httpx2.Response) -> Result:
        status = response.status_code
        if response.is_success:
            return Sent()
        if status < 500 and status not in _RETRYABLE:
            return Unsent(f"{host} answered {status}", permanent=True)
        wish = parse_retry_after(response.headers.get_list("Retry-After"), self._clock.time())
        return Unsent(f"{host} answered {status}", retry_after_s=wish or 0.0)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or tls_context()
