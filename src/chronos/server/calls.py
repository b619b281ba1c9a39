"""A request into a call: who may, for which namespace, and what path, query, headers and body say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from chronos.errors import Denied, Invalid, PreconditionRequired, Unprocessable
from chronos.model.limits import NAMESPACE_PATTERN
from chronos.model.principal import Principal
from chronos.plugin import PUBLIC, Call, Endpoint
from chronos.server.decoding import FieldInvalid, MalformedJson, convert_text, decode_json

KEY_CHARS_MAX = 255
CONSISTENCIES = ("linearizable", "local")

_ETAG = re.compile(r'^(?:W/)?"?([0-9]{1,15})"?$')
_KEY = re.compile(r"^[\x21-\x7e]{1,255}$")


def check_permission(endpoint: Endpoint, principal: Principal) -> None:
    """Raise Denied when the caller may not use `endpoint`."""
    if endpoint.permission != PUBLIC and not principal.may(endpoint.permission):
        raise Denied(f"`{principal.id}` lacks the permission `{endpoint.permission}`.", permission=endpoint.permission)


def read_call(
    endpoint: Endpoint,
    *,
    principal: Principal,
    headers: Mapping[str, str],
    query: bytes,
    path: dict[str, str],
    raw: bytes,
) -> Call:
    """Return the call that a request makes, decoded strictly.

    Args:
        headers: Names in lower case.
        raw: The body; of a GET nothing.

    Raises:
        Invalid: Something in it is not what `endpoint` takes.
    """
    pairs = _query_pairs(query)
    namespace = _namespace(headers, pairs)
    if endpoint.method == "GET" and endpoint.permission != PUBLIC:
        _check_consistency(pairs)
    return Call(
        principal=principal,
        namespace=namespace,
        path=path,
        query=_query(endpoint, pairs),
        body=_body(endpoint, raw),
        raw=raw,
        headers=dict(headers),
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


def is_local(raw: bytes) -> bool:
    """Return whether a read whose query has been checked is content with what this node has."""
    return b"consisten" in raw and any(
        (name, value) in (("consistency", "local"), ("consistent", "false")) for name, value in parse_qsl(raw.decode())
    )


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
    lists = _lists_of(endpoint.query)
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


@cache
def _lists_of(query: type[Struct]) -> frozenset[str]:
    """Return the parameters that take several values."""
    return frozenset(f.encode_name for f in msgspec.structs.fields(query) if "list" in str(f.type))


def _body(endpoint: Endpoint, raw: bytes) -> Any:
    if endpoint.raw_body or endpoint.method == "GET":
        return None
    if endpoint.body is None:
        if raw and raw.strip() != b"{}":
            raise Unprocessable("This operation takes no body.", field="")
        return None
    if raw:
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
