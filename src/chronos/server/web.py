"""Endpoints into a web application: decode, ask the handler, encode."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import structlog
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import ClientException, HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from chronos.errors import ChronosError, Denied, Invalid, PreconditionRequired, Unprocessable
from chronos.model.limits import NAMESPACE_PATTERN
from chronos.model.principal import ANONYMOUS, Principal
from chronos.plugin import PUBLIC, Call, Endpoint, Reply
from chronos.server.decoding import FieldInvalid, MalformedJson, convert_text, decode_json
from chronos.server.gate import Asgi, Authenticate, Gate, host_of
from chronos.server.problems import CONTENT_TYPE, HttpProblem, describe, describe_bug, describe_http
from chronos.telemetry import Telemetry
from chronos.timing.clock import Chance, Clock

log = structlog.get_logger("chronos.http")

BODY_BYTES_MAX = 1 << 20  # unless the configuration says otherwise
RAW_BYTES_MAX = 64 << 20
KEY_CHARS_MAX = 255
TOO_LARGE = "The body is larger than this server takes here; `server.http.max_body_bytes` is the most."
APPLIED = "Chronos-Applied-Index"
CONSISTENCIES = ("linearizable", "local")

_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_ETAG = re.compile(r'^(?:W/)?"?([0-9]{1,15})"?$')
_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")


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


class Routes:
    """Which methods a path takes. Paths are matched exactly: no suffixes, no cases, no slashes at the end."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._exact: dict[str, dict[str, Endpoint]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Endpoint]]] = []
        by_path: dict[str, dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
        for path, methods in by_path.items():
            if "{" in path:
                pattern = "".join(
                    "[^/]+" if i % 2 else re.escape(part) for i, part in enumerate(_PARAMETER.split(path))
                )
                self._patterns.append((re.compile(f"^{pattern}$"), methods))
            else:
                self._exact[path] = methods
        self._find = lru_cache(1_024)(self._search)

    def methods(self, path: str) -> list[str]:
        return sorted(self._find(path))

    def is_public(self, method: str, path: str) -> bool:
        endpoint = self._exact.get(path, {}).get(method)
        return endpoint is not None and endpoint.permission == PUBLIC

    def content_type(self, method: str, path: str) -> str:
        endpoint = self._find(path)[method]
        return endpoint.raw_body or "application/json"

    def _search(self, path: str) -> dict[str, Endpoint]:
        if path in self._exact:
            return self._exact[path]
        return next((methods for pattern, methods in self._patterns if pattern.match(path)), {})


def _route(endpoint: Endpoint, applied: Callable[[], int], body_bytes_max: int) -> HTTPRouteHandler:
    async def serve(request: Request[Any, Any, State]) -> Response[Any]:
        request.scope["chronos.route"] = endpoint.path  # type: ignore[typeddict-unknown-key]
        call = await _call(request, endpoint)
        # Asked before the handler reads: what it reads is at least as new as what the answer says.
        index = applied()
        response = _response(endpoint, await endpoint.handler(call))
        if endpoint.method == "GET" and endpoint.permission != PUBLIC:
            response.headers[APPLIED] = str(index)
        return response

    serve.__annotations__ = {"request": Request[Any, Any, State], "return": Response[Any]}
    return HTTPRouteHandler(
        _PARAMETER.sub(r"{\1:str}", endpoint.path),
        http_method=endpoint.method,  # type: ignore[arg-type]  # a plain string in the declaration
        status_code=endpoint.status,
        request_max_body_size=_body_bytes_max(endpoint, body_bytes_max),
    )(serve)


def _body_bytes_max(endpoint: Endpoint, configured: int) -> int:
    if endpoint.raw_body:
        return RAW_BYTES_MAX
    return min(endpoint.body_bytes_max or configured, configured)


async def _call(request: Request[Any, Any, State], endpoint: Endpoint) -> Call:
    principal: Principal = request.scope.get("chronos.principal", ANONYMOUS)  # type: ignore[assignment]
    if endpoint.permission != PUBLIC and not principal.may(endpoint.permission):
        raise Denied(f"`{principal.id}` lacks the permission `{endpoint.permission}`.", permission=endpoint.permission)
    headers = {name.lower(): value for name, value in request.headers.items()}
    query = _query_pairs(request.scope["query_string"])
    namespace = _namespace(headers, query)
    if endpoint.method == "GET" and endpoint.permission != PUBLIC:
        _check_consistency(query)
    raw = await request.body() if endpoint.method != "GET" else b""
    return Call(
        principal=principal,
        namespace=namespace,
        path=dict(request.path_params),
        query=_query(endpoint, query),
        body=_body(endpoint, raw),
        raw=raw,
        headers=headers,
        idempotency_key=_idempotency_key(headers),
        if_match=_if_match(endpoint, headers),
        route=f"{endpoint.method} {endpoint.path}",
    )


def _query_pairs(raw: bytes) -> dict[str, list[str]]:
    try:
        text = raw.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=200, errors="strict")
    except (UnicodeDecodeError, ValueError) as exc:
        raise Invalid(
            "The query string cannot be read: it is not UTF-8, percent-encoded, or has too many fields."
        ) from exc
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _namespace(headers: Mapping[str, str], query: dict[str, list[str]]) -> str:
    given = query.pop("namespace", None) or ([headers["x-namespace"]] if "x-namespace" in headers else ["default"])
    if len(given) != 1 or not re.match(NAMESPACE_PATTERN, given[0]) or given[0].endswith("\n"):
        raise FieldInvalid("`namespace` is lower-case letters, digits and dashes, at most 63.", field="namespace")
    return given[0]


_CONSISTENT = {"true": "linearizable", "false": "local"}
"""`?consistent=true`, an older word for the same."""


def _check_consistency(query: dict[str, list[str]]) -> None:
    # One node alone is its own quorum: what it reads locally is linearizable, and both words are honoured alike.
    if "consistent" in query:
        query["consistency"] = [_CONSISTENT.get(one, one) for one in query.pop("consistent")]
    given = query.pop("consistency", ["linearizable"])
    if len(given) != 1 or given[0] not in CONSISTENCIES:
        raise FieldInvalid("`consistency` is `linearizable` (the default) or `local`.", field="consistency")


def _query(endpoint: Endpoint, pairs: dict[str, list[str]]) -> Any:
    if endpoint.query is None:
        if pairs:
            name = next(iter(pairs))
            raise Unprocessable(f"This address takes no query parameter `{name[:64]}`.", field=name[:64])
        return None
    lists = {f.encode_name for f in msgspec.structs.fields(endpoint.query) if "list" in str(f.type)}
    values: dict[str, Any] = {}
    for name, given in pairs.items():
        if name.startswith("tag.") and "tags" in endpoint.query.__struct_fields__:
            values.setdefault("tags", {})[name.removeprefix("tag.")] = given[-1]
        elif name in lists:
            values[name] = [part for text in given for part in text.split(",")]
        elif len(given) > 1:
            raise FieldInvalid(f"`{name[:64]}` is given {len(given)} times.", field=name[:64])
        else:
            values[name] = given[0]
    return convert_text(values, endpoint.query)


def _body(endpoint: Endpoint, raw: bytes) -> Any:
    if endpoint.raw_body or endpoint.method == "GET":
        return None
    if endpoint.body is None:
        if raw.strip() not in (b"", b"{}"):
            raise Unprocessable("This operation takes no body.", field="")
        return None
    if raw.strip():
        return decode_json(raw, endpoint.body)
    try:
        return msgspec.convert({}, endpoint.body)
    except msgspec.ValidationError as exc:
        raise MalformedJson("A JSON body is required here.") from exc


def _idempotency_key(headers: Mapping[str, str]) -> str | None:
    key = headers.get("idempotency-key")
    if key is not None and not _KEY.match(key):
        raise Invalid(f"`Idempotency-Key` is 1 to {KEY_CHARS_MAX} visible ASCII characters.", field="Idempotency-Key")
    return key


def _if_match(endpoint: Endpoint, headers: Mapping[str, str]) -> int | None:
    text = headers.get("if-match")
    if text is None:
        if endpoint.needs_if_match:
            raise PreconditionRequired(field="If-Match")
        return None
    if text.strip() == "*":
        return -1
    match = _ETAG.match(text.strip())
    if match is None:
        raise Invalid('`If-Match` is the ETag as it was received, like `"3"`, or `*`.', field="If-Match")
    return int(match[1])


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
