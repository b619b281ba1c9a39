"""Endpoints into a web application: decode, ask the handler, encode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import ClientException, HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from chronos.errors import ChronosError
from chronos.model.principal import ANONYMOUS, Principal
from chronos.plugin import PUBLIC, Call, Endpoint, Reply
from chronos.server.calls import check_permission, read_call
from chronos.server.gate import Asgi, Authenticate, Gate, host_of
from chronos.server.patience import answered
from chronos.server.problems import CONTENT_TYPE, HttpProblem, describe, describe_bug, describe_http
from chronos.server.routing import APPLIED, BODY_BYTES_MAX, PARAMETER, TOO_LARGE, Routes, body_bound
from chronos.telemetry import Telemetry
from chronos.timing.clock import Chance, Clock

log = structlog.get_logger("chronos.http")


def build(
    endpoints: Sequence[Endpoint],
    *,
    authenticate: Authenticate,
    allowed_hosts: Sequence[str],
    address: str,
    clock: Clock,
    chance: Chance,
    telemetry: Telemetry,
    is_draining: Callable[[], bool] = lambda: False,
    applied: Callable[[], int] = lambda: 0,
    body_bytes_max: int = BODY_BYTES_MAX,
) -> Asgi:
    """Return the application that serves `endpoints` and nothing else.

    Args:
        applied: The index of the last log entry this node has taken in; every answer to a read says it.
    """
    routes = Routes(endpoints)
    inner = Litestar(
        route_handlers=[_route(endpoint, applied, body_bytes_max) for endpoint in endpoints],
        exception_handlers={
            ChronosError: _on_error,
            HttpProblem: _on_http_problem,
            HTTPException: _on_litestar,
            Exception: _on_bug,
        },
        openapi_config=None,
        logging_config=None,
        debug=False,
        signature_namespace={"Any": Any},
    )
    return Gate(
        inner,  # type: ignore[arg-type]  # litestar narrows the ASGI types
        authenticate=authenticate,
        is_public=routes.is_public,
        allowed_methods=routes.methods,
        content_type=routes.content_type,
        hosts=frozenset(name.lower() for name in (*allowed_hosts, host_of(address)) if name),
        clock=clock,
        chance=chance,
        telemetry=telemetry,
        is_draining=is_draining,
    )


def _route(endpoint: Endpoint, applied: Callable[[], int], body_bytes_max: int) -> HTTPRouteHandler:
    async def serve(request: Request[Any, Any, State]) -> Response[Any]:
        request.scope["chronos.route"] = endpoint.path  # type: ignore[typeddict-unknown-key]
        call = await _call(request, endpoint)
        # Asked before the handler reads: what it reads is at least as new as what the answer says.
        index = applied()
        response = _response(endpoint, await answered(endpoint, call))
        if endpoint.method == "GET" and endpoint.permission != PUBLIC:
            response.headers[APPLIED] = str(index)
        return response

    serve.__annotations__ = {"request": Request[Any, Any, State], "return": Response[Any]}
    return HTTPRouteHandler(
        PARAMETER.sub(r"{\1:str}", endpoint.path),
        http_method=endpoint.method,  # type: ignore[arg-type]  # a plain string in the declaration
        status_code=endpoint.status,
        request_max_body_size=body_bound(endpoint, body_bytes_max),
    )(serve)


async def _call(request: Request[Any, Any, State], endpoint: Endpoint) -> Call:
    principal: Principal = request.scope.get("chronos.principal", ANONYMOUS)  # type: ignore[assignment]
    # Refused before the body is read: it may be large.
    check_permission(endpoint, principal)
    return read_call(
        endpoint,
        principal=principal,
        headers={name.lower(): value for name, value in request.headers.items()},
        query=request.scope["query_string"],
        path=dict(request.path_params),
        raw=await request.body() if endpoint.method != "GET" else b"",
    )


def _response(endpoint: Endpoint, reply: Reply) -> Response[Any]:
    status = reply.status or endpoint.status
    if reply.stream is not None:
        kind = "text/event-stream" if reply.content_type == "application/json" else reply.content_type
        return Stream(reply.stream, status_code=status, media_type=kind, headers=reply.headers)
    if status == 204:
        return Response(b"", status_code=204, headers=reply.headers, media_type=reply.content_type)
    content = reply.text if reply.text is not None else msgspec.json.encode(reply.value)
    kind = reply.content_type
    if kind.startswith("text/"):
        kind = kind.removesuffix("; charset=utf-8")  # litestar says it once more
    return Response(content, status_code=status, media_type=kind, headers=reply.headers)


def _request_id(request: Request[Any, Any, Any]) -> str:
    return str(request.scope.get("chronos.request_id", ""))


def _problem(status: int, body: dict[str, Any], headers: dict[str, str]) -> Response[bytes]:
    return Response(msgspec.json.encode(body), status_code=status, media_type=CONTENT_TYPE, headers=headers)


def _on_error(request: Request[Any, Any, Any], exc: ChronosError) -> Response[bytes]:
    return _problem(*describe(exc, request_id=_request_id(request)))


def _on_http_problem(request: Request[Any, Any, Any], exc: HttpProblem) -> Response[bytes]:
    return _problem(*describe_http(exc, request_id=_request_id(request)))


def _on_bug(request: Request[Any, Any, Any], exc: Exception) -> Response[bytes]:
    request_id = _request_id(request)
    log.error("request_failed", method=request.method, path=request.scope["path"], request_id=request_id, exc_info=exc)
    return _problem(*describe_bug(request_id=request_id))


def _on_litestar(request: Request[Any, Any, Any], exc: HTTPException) -> Response[bytes]:
    if exc.status_code >= 500:
        return _on_bug(request, exc)
    if exc.status_code == 413:
        problem = HttpProblem(413, "payload-too-large", TOO_LARGE)
    elif isinstance(exc, ClientException):
        problem = HttpProblem(exc.status_code, "bad-request", exc.detail)
    else:
        problem = HttpProblem(exc.status_code, "refused", exc.detail)
    return _on_http_problem(request, problem)
