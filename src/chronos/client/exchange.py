"""How a request is carried through: keys, retries, the fallback of reads. Pure: it says what to send and when to wait.

`exchange` is a generator, so that the blocking and the asynchronous client run the same rules: each
sends what it is given, waits as it is told, and hands back what came of it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, TypeVar, cast

import msgspec

from chronos import __version__
from chronos.client.operation import Operation
from chronos.client.problems import UnknownAnswer, error_of
from chronos.errors import Unavailable
from chronos.timing.clock import Chance, Clock, ulid

T = TypeVar("T")

_ASK_AGAIN = frozenset({502, 503, 504})
_LOCAL = "consistency=local"


@dataclass(frozen=True)
class Patience:
    """How long and how often to try.

    Attributes:
        timeout_s: Bounds one try, besides what the server was asked to wait.
        tries_max: Tries of one request, the first one included.
        total_s: After this long no further try is begun.
        pause_s: Longest wait before the second try; doubles for each further one, with full jitter.
        pause_s_max: No single wait is longer, whatever `Retry-After` says.
    """

    timeout_s: float = 30.0
    tries_max: int = 4
    total_s: float = 60.0
    pause_s: float = 0.2
    pause_s_max: float = 5.0


@dataclass(frozen=True)
class Send:
    """Send this now."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    timeout_s: float


@dataclass(frozen=True)
class Wait:
    """Wait this long before going on."""

    seconds: float


@dataclass(frozen=True)
class Received:
    """The answer, read to its end."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""
    stale: bool = False

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Lost:
    """There was no answer; nobody can say whether the request arrived."""

    reason: str


Step = Send | Wait
Result = Received | Lost | None


@dataclass(frozen=True)
class Caller:
    """Who asks, of whom: the part of a request that is the same for every operation."""

    server: str
    api_key: str | None = None
    namespace: str | None = None
    patience: Patience = Patience()

    def headers(self, namespace: str | None = None) -> dict[str, str]:
        """Return the headers that every request has; `namespace` goes before the caller's own."""
        headers = {"Accept": "application/json", "User-Agent": f"chronos-client/{__version__}"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if namespace or self.namespace:
            headers["X-Namespace"] = namespace or self.namespace or ""
        return headers


def exchange(
    operation: Operation[Any], caller: Caller, clock: Clock, chance: Chance
) -> Generator[Step, Result, Received]:
    """Carry one operation through and return the answer.

    Every write has an `Idempotency-Key` drawn once, so that a try that was lost on the way can be
    sent again without doing its work twice. A read that no quorum can confirm is asked of the node alone.

    Raises:
        ChronosError: The server's refusal, or `Unavailable` when no try was answered.
    """
    request = request_of(operation, caller, clock, chance)
    deadline = clock.boottime() + caller.patience.total_s
    result: Result = None
    for n in range(1, caller.patience.tries_max + 1):
        result = yield request
        if isinstance(result, Received) and result.status not in _ASK_AGAIN:
            break
        pause_s = _pause_s(caller.patience, n, result, chance)
        if n == caller.patience.tries_max or clock.boottime() + pause_s > deadline:
            break
        yield Wait(pause_s)
    if _may_read_locally(operation, result):
        result = yield replace(request, params={**request.params, "consistency": "local"})
        if isinstance(result, Received) and result.is_success:
            return replace(result, stale=True)
    return verdict(result, caller.server)


def request_of(operation: Operation[Any], caller: Caller, clock: Clock, chance: Chance) -> Send:
    """Return the request of an operation, with an idempotency key of its own if it changes anything."""
    headers = caller.headers(operation.namespace)
    if not operation.is_read:
        headers["Idempotency-Key"] = ulid(clock, chance)
        headers["Content-Type"] = operation.content_type
    if operation.if_match is not None:
        headers["If-Match"] = f'"{operation.if_match}"'
    timeout_s = caller.patience.timeout_s + operation.patience_s
    return Send(operation.method, operation.path, operation.params, headers, operation.body, timeout_s)


def verdict(result: Result, server: str) -> Received:
    """Return a successful answer; raise what anything else means."""
    if isinstance(result, Received) and result.is_success:
        return result
    if isinstance(result, Received):
        if 300 <= result.status < 400:
            raise UnknownAnswer(f"{server} redirects instead of answering; is this the address of Chronos?")
        raise error_of(result.status, result.body, server)
    reason = result.reason if result else "no answer"
    raise Unavailable(f"No answer from {server}: {reason}. Is the server running? `chronosctl doctor` looks.")


def decoded(received: Received, returns: type[T], server: str) -> T:
    """Return the answer's JSON as `returns`; an empty body is an empty document.

    Raises:
        UnknownAnswer: It is not JSON, or not of this shape.
    """
    try:
        plain = msgspec.json.decode(received.body) if received.body.strip() else {}
        return cast("T", plain) if returns is object else msgspec.convert(plain, returns)
    except msgspec.DecodeError as exc:
        raise UnknownAnswer(f"{server} does not answer as a Chronos server does: {exc}") from exc


def _pause_s(patience: Patience, n: int, result: Result, chance: Chance) -> float:
    share = int.from_bytes(chance.bytes(4), "big") / 2**32
    backoff = share * min(patience.pause_s_max, patience.pause_s * 2.0 ** (n - 1))
    asked = _retry_after_s(result.headers) if isinstance(result, Received) else 0.0
    return min(patience.pause_s_max, max(backoff, asked))


def _retry_after_s(headers: Mapping[str, str]) -> float:
    try:
        seconds = float(headers.get("retry-after", "0"))
    except ValueError:
        return 0.0
    return seconds if isfinite(seconds) and seconds > 0 else 0.0


def _may_read_locally(operation: Operation[Any], result: Result) -> bool:
    return (
        operation.is_read
        and "consistency" not in operation.params
        and isinstance(result, Received)
        and result.status == 503
        and _LOCAL.encode() in result.body
    )
