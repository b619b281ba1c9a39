"""Errors as problem details (RFC 9457): every answer that is not a success looks like this."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from chronos import errors

STATUS: tuple[tuple[type[errors.ChronosError], int], ...] = (
    # The narrow before the wide: the first that fits is taken.
    (errors.PreconditionRequired, 428),
    (errors.Unprocessable, 422),
    (errors.Invalid, 400),
    (errors.Unauthenticated, 401),
    (errors.RateLimited, 429),
    (errors.Denied, 403),
    (errors.NotFound, 404),
    (errors.VersionConflict, 412),
    (errors.Conflict, 409),
    (errors.StorageFull, 507),
    (errors.Unavailable, 503),
)

TITLES = {
    400: "The request cannot be understood.",
    404: "There is nothing at this address.",
    405: "This address does not take this method.",
    408: "The request took too long to arrive.",
    413: "The request is too large.",
    415: "This content type is not accepted here.",
    421: "This server does not answer to this host name.",
    431: "The request's headers are too large.",
    500: "The server made a mistake.",
}

CONTENT_TYPE = "application/problem+json"


class Problem(Struct, kw_only=True, omit_defaults=True):
    """What went wrong. Further members (`allowed`, `blocked_by`, …) are the facts of the error.

    Attributes:
        type: A stable slug, one per kind of error.
        title: The same for every error of this type.
        detail: What is wrong here, and what to do about it.
        field: The offending field of the request, like `retry_policy.max_attempts`.
        request_id: Also in `X-Request-Id`, and in the server's log.
    """

    type: str
    title: str
    status: int
    detail: str = ""
    field: str = ""
    request_id: str = ""


class HttpProblem(Exception):
    """An error of the transport, which the domain has no name for: 405, 413, 415, 421 …"""

    def __init__(self, status: int, slug: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.headers = headers or {}


def status_of(error: errors.ChronosError) -> int:
    """Return the HTTP status of an error's family; 500 for none of them."""
    return next((status for family, status in STATUS if isinstance(error, family)), 500)


def describe(error: errors.ChronosError, *, request_id: str = "") -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return status, body and headers for an error that has a name."""
    status = status_of(error)
    body: dict[str, Any] = {
        "type": error.slug,
        "title": (type(error).__doc__ or "").partition("\n")[0],
        "status": status,
        "detail": str(error),
    }
    if isinstance(error, errors.ScheduleInvalid | errors.TimezoneUnknown):
        body |= _placed(error)
    for name, fact in error.facts.items():
        if name not in body and isinstance(fact, str | int | float | bool | list | dict):
            body[name] = fact
    if request_id:
        body["request_id"] = request_id
    return status, body, _headers(status, error)


def _placed(error: errors.ChronosError) -> dict[str, Any]:
    """Of a schedule the error knows the part (`minute`), which is no field of the request: the schedule is."""
    said = error.facts.get("field")
    if isinstance(error, errors.TimezoneUnknown):
        return {"field": "timezone"} if said in (None, "schedule") else {}
    if said is None or str(said).startswith("schedule"):
        return {}
    return {"field": "schedule", "part": said}


def describe_http(problem: HttpProblem, *, request_id: str = "") -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return status, body and headers for an error of the transport."""
    body: dict[str, Any] = {
        "type": problem.slug,
        "title": TITLES.get(problem.status, "The request was refused."),
        "status": problem.status,
        "detail": str(problem),
    }
    if request_id:
        body["request_id"] = request_id
    return problem.status, body, problem.headers


def describe_bug(*, request_id: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return the answer for an error we did not foresee. It says nothing of the inside."""
    detail = f"Nothing you can change would help; the server's log has the details under request id {request_id}."
    return describe_http(HttpProblem(500, "internal-error", detail), request_id=request_id)


def _headers(status: int, error: errors.ChronosError) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="chronos"'}
    if status in (429, 503):
        return {"Retry-After": str(error.facts.get("retry_after", 1))}
    return {}
