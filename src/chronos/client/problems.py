"""From a refusal of the server back to the error class it was raised as."""

from __future__ import annotations

from typing import Any

import msgspec

from chronos.errors import (
    ChronosError,
    Conflict,
    Denied,
    Invalid,
    NotFound,
    PreconditionRequired,
    RateLimited,
    StorageFull,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    VersionConflict,
    kind_of,
)

_BY_STATUS: dict[int, type[ChronosError]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Denied,
    404: NotFound,
    409: Conflict,
    412: VersionConflict,
    422: Unprocessable,
    428: PreconditionRequired,
    429: RateLimited,
    507: StorageFull,
}
_PLUMBING = frozenset({"type", "title", "status", "detail", "instance"})


class ServerFailed(ChronosError):
    """The server failed while answering; its log says why."""


class UnknownAnswer(Unavailable):
    """This is not the answer of a Chronos server; check the address."""


def error_of(status: int, body: bytes, where: str) -> ChronosError:
    """Return the error that the server's refusal stands for.

    The class is found by the problem's slug, else by the status; a slug that this client does not
    know falls back to its status' family. `facts` has the problem's own members and `status`.
    """
    problem = _problem_of(body)
    kind = kind_of(str(problem.get("type", "")).rstrip("/").rpartition("/")[2]) or _family(status)
    facts = {name: value for name, value in problem.items() if name not in _PLUMBING}
    return kind(_sentence(problem, status, where), **{**facts, "status": status})


def _problem_of(body: bytes) -> dict[str, Any]:
    try:
        problem = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _family(status: int) -> type[ChronosError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status in (502, 503, 504):
        return Unavailable
    return ServerFailed if status >= 500 else Invalid


def _sentence(problem: dict[str, Any], status: int, where: str) -> str:
    title, detail = str(problem.get("title") or ""), str(problem.get("detail") or "")
    if detail and title and title not in detail:
        return f"{title.rstrip('.:')}: {detail}" if detail[:1].islower() else detail
    return detail or title or f"{where} answered with HTTP {status} and no explanation."
