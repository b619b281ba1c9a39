"""For targets of long jobs: report progress and the result, after the request was answered with 202.

callback = Callback.of(request.headers)  # keep `callback.address` with the work
…                                        # answer 202, then, elsewhere:
for n, table in enumerate(tables, 1):
    back_up(table)
    if not callback.progress(100 * n // len(tables), f"{n} of {len(tables)} tables"):
        return callback.fail("stopped as asked")
callback.succeed()
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx2
from msgspec import Struct

from chronos.client.asynchronous import AsyncClient
from chronos.client.blocking import Client
from chronos.client.exchange import Patience
from chronos.client.operation import BASE, Operation, json_of
from chronos.errors import AttemptEnded, Invalid, Unavailable

HEADER = "X-Chronos-Callback"
MESSAGE_CHARS_MAX = 4_096
OUTPUT_CHARS_MAX = 65_536

SIGN_OF_LIFE = Patience(timeout_s=10.0, tries_max=2, total_s=10.0)
"""The next one says more than this one said again."""

RESULT = Patience(timeout_s=30.0, tries_max=1_000, total_s=900.0, pause_s=1.0, pause_s_max=15.0)
"""Outlasts a restart of the server."""

_PATH = f"{BASE}/callbacks"


class Reported(Struct, frozen=True, kw_only=True):
    """How the execution stands after a report."""

    execution_id: str
    status: str
    cancelled: bool = False


class Callback:
    """Reports on one attempt of a long job. May be made anew from its address, in another process or days later.

    Args:
        address: What the header `X-Chronos-Callback` says.
        server: The base address reports may go to; the header is not covered by the request's signature.
        ca_file: Certificates to trust instead of the system's.
        more: As for `Client`.

    Raises:
        Invalid: It is no callback address, or one of another server.
    """

    def __init__(self, address: str, *, server: str | None = None, ca_file: str | None = None, **more: Any) -> None:
        base, self._token = taken_apart(address, server)
        self.address = address
        self._alive = Client(base, ca_file=ca_file, patience=more.pop("alive", SIGN_OF_LIFE), **more)
        self._final = Client(base, ca_file=ca_file, patience=more.pop("final", RESULT), **more)

    @classmethod
    def of(cls, headers: Mapping[str, str], **more: Any) -> Self:
        """Return the callback of a request; raises `Invalid` when it brought none."""
        return cls(address_in(headers), **more)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Closing twice is no error."""
        self._alive.close()
        self._final.close()

    def progress(self, percent: int | None = None, message: str = "") -> bool:
        """Say how far the work is, or that it goes on; return False when it is to stop.

        A report that finds nobody is let go: the next one says more, and the work matters more than its word.

        Raises:
            Denied: The address is not one of the server's, or has expired.
        """
        try:
            return not self._alive.call(_progress(self._token, percent, message)).cancelled
        except AttemptEnded:
            return False
        except Unavailable:
            return True

    def succeed(self, output: str = "") -> Reported:
        """Report that the work is done; return when that is durable.

        Raises:
            AttemptEnded: Too late: the attempt is over, and came to something else.
            Unavailable: Nobody answered for a quarter of an hour; the same report may be sent again.
        """
        return self._final.call(_result(self._token, "success", output=output))

    def fail(self, message: str, *, output: str = "", retry: bool = True) -> Reported:
        """Report that the work has failed, and whether trying again can help; raises as `succeed`."""
        return self._final.call(_result(self._token, "failure", message=message, output=output, retry=retry))


class AsyncCallback:
    """A `Callback` whose reports are awaited."""

    def __init__(self, address: str, *, server: str | None = None, ca_file: str | None = None, **more: Any) -> None:
        base, self._token = taken_apart(address, server)
        self.address = address
        self._alive = AsyncClient(base, ca_file=ca_file, patience=more.pop("alive", SIGN_OF_LIFE), **more)
        self._final = AsyncClient(base, ca_file=ca_file, patience=more.pop("final", RESULT), **more)

    @classmethod
    def of(cls, headers: Mapping[str, str], **more: Any) -> Self:
        """Return the callback of a request; raises `Invalid` when it brought none."""
        return cls(address_in(headers), **more)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Closing twice is no error."""
        await self._alive.close()
        await self._final.close()

    async def progress(self, percent: int | None = None, message: str = "") -> bool:
        """See `Callback.progress`."""
        try:
            return not (await self._alive.call(_progress(self._token, percent, message))).cancelled
        except AttemptEnded:
            return False
        except Unavailable:
            return True

    async def succeed(self, output: str = "") -> Reported:
        """See `Callback.succeed`."""
        return await self._final.call(_result(self._token, "success", output=output))

    async def fail(self, message: str, *, output: str = "", retry: bool = True) -> Reported:
        """See `Callback.fail`."""
        return await self._final.call(_result(self._token, "failure", message=message, output=output, retry=retry))


def address_in(headers: Mapping[str, str]) -> str:
    """Return the callback address among a request's headers, whatever the case of their names.

    Raises:
        Invalid: There is none.
    """
    for name, value in headers.items():
        if name.lower() == HEADER.lower():
            return value
    raise Invalid(f"The request has no {HEADER}; give its job `completion: callback`.", field=HEADER)


def taken_apart(address: str, server: str | None = None) -> tuple[str, str]:
    """Return the base address of the server and the token of a callback address.

    Raises:
        Invalid: It is no callback address, or does not lead to `server`.
    """
    try:
        url = httpx2.URL(address)
        token = url.params.get("token", "")
    except (httpx2.InvalidURL, ValueError):
        url, token = httpx2.URL(), ""
    base, found, rest = address.partition(_PATH)
    if not (url.scheme in ("http", "https") and url.host and found and rest.startswith("?") and token):
        raise Invalid("This is no callback address of Chronos.", field=HEADER)
    if server is not None and base.rstrip("/").lower() != server.rstrip("/").lower():
        raise Invalid(f"The callback address leads to {url.host}, and not to {server}.", field=HEADER)
    return base, token


def _progress(token: str, percent: int | None, message: str) -> Operation[Reported]:
    body: dict[str, Any] = {"message": message[:MESSAGE_CHARS_MAX]} if message else {}
    if percent is not None:
        body["progress"] = max(0, min(100, percent))
    return _report(token, body)


def _result(token: str, result: str, *, message: str = "", output: str = "", retry: bool = True) -> Operation[Reported]:
    body = {"result": result, "message": message[:MESSAGE_CHARS_MAX], "output": output[:OUTPUT_CHARS_MAX]}
    return _report(token, {**body, "retry": retry})


def _report(token: str, body: dict[str, Any]) -> Operation[Reported]:
    return Operation("POST", _PATH, Reported, {"token": token}, json_of(body))
