"""Bytes and query strings into structs, strictly, with messages a person can act on.

400 is for what cannot be read as JSON, 422 for what can be read and is wrong.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NoReturn

import msgspec
from msgspec import inspect

from chronos.errors import Invalid, Unprocessable
from chronos.server.wording import in_words

DEPTH_MAX = 32

# What people write who know other schedulers, or older documents.
_KNOWN_AS = {
    "concurrency_policy": "concurrency",
    "cron": "schedule",
    "max_retries": "retry_policy",
    "missed_policy": "missed_run_policy",
    "offset": "cursor",
    "page": "cursor",
    "retries": "retry_policy",
    "retry": "retry_policy",
    "tz": "timezone",
    "url": "webhook.url",
    "webhook_url": "webhook.url",
}
SERVER_OWNED = frozenset(
    {
        "already_sent",
        "created_at",
        "created_by",
        "effective_at",
        "id",
        "last_execution",
        "last_success_at",
        "next_run",
        "next_runs",
        "overdue_since",
        "paused",
        "revision",
        "updated_at",
        "updated_by",
    }
)
"""What a job's document shows and nobody may write."""

_AT_PATH = re.compile(r"(?s)^(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$?(?P<path>[^`]*)`)?$")
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`")


class MalformedJson(Invalid):
    """The body is not JSON."""


class FieldInvalid(Unprocessable):
    """A field of the request is wrong."""


class FieldUnknown(Unprocessable):
    """The request has a field that is not known here."""


class FieldMissing(Unprocessable):
    """The request lacks a field."""


def decode_json(raw: bytes, of: Any) -> Any:
    """Return `raw` decoded into the type `of`.

    Raises:
        MalformedJson: Not UTF-8, not JSON, a key twice in one object, NaN, or deeper than 32.
        Unprocessable: JSON, but not an `of`.
    """
    return decode_twice(raw, of)[0]


def decode_twice(raw: bytes, of: Any) -> tuple[Any, Any]:
    """Return `raw` decoded as `decode_json` does, and as plain data: that tells what was left out."""
    said = read_json(raw)
    try:
        return msgspec.json.decode(raw, type=of), said
    except msgspec.ValidationError as exc:
        explain(exc, of)
    except msgspec.DecodeError as exc:
        raise MalformedJson(f"The body is not JSON: {exc}.") from exc


def read_json(raw: bytes) -> Any:
    """Return `raw` as plain data; refuse what JSON readers disagree about, so that nobody reads it differently.

    Raises:
        MalformedJson: As `decode_json`.
    """
    try:
        value = _reader.decode(raw.decode())
    except UnicodeDecodeError as exc:
        raise MalformedJson(f"The body is not UTF-8 (byte {exc.start}).") from exc
    except json.JSONDecodeError as exc:
        raise MalformedJson(
            f"The body is not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}.", line=exc.lineno
        ) from exc
    except RecursionError as exc:
        raise _too_deep() from exc
    except ValueError as exc:  # an integer of thousands of digits
        raise MalformedJson("The body is not JSON: a number in it is too long.") from exc
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX and _depth(value) > DEPTH_MAX:
        raise _too_deep()
    return value


def convert(value: Any, of: Any) -> Any:
    """Return plain data (from a query string, a merged document) converted into the type `of`.

    Raises:
        Unprocessable: It does not fit.
    """
    try:
        return msgspec.convert(value, of)
    except msgspec.ValidationError as exc:
        explain(exc, of)


def convert_text(value: dict[str, Any], of: Any) -> Any:
    """Like `convert`, for values that arrived as text: `5` may become an integer, `true` a boolean."""
    try:
        return msgspec.convert(value, of, strict=False)
    except msgspec.ValidationError as exc:
        explain(exc, of)


def explain(exc: msgspec.ValidationError, of: Any) -> NoReturn:
    """Raise a validation error again, with the field and what is allowed there."""
    match = _AT_PATH.match(str(exc))
    assert match is not None, "the pattern matches everything"
    what, path = match["what"], (match["path"] or "").lstrip(".")
    if unknown := _UNKNOWN.search(what):
        name = unknown["name"]
        field = _join(path, name)
        if not path and name in SERVER_OWNED:
            raise FieldUnknown(f"`{name}` is set by the server; leave it out of what you send.", field=field)
        near = nearest(name, field_names(of))
        hint = f" Did you mean `{near}`?" if near else ""
        if near == "tags" and name.startswith("tag") and not path:
            hint = " Filter by tags with `tag.KEY=VALUE`; in a body they are `tags`."
        raise FieldUnknown(f"There is no field `{field}`.{hint}", field=field, **({"nearest": near} if near else {}))
    if missing := _MISSING.search(what):
        field = _join(path, missing["name"])
        raise FieldMissing(f"The field `{field}` is required.", field=field)
    where = (f"A key of `{path}`" if match["key"] else f"`{path}`") if path else "The body"
    said = f"{where} {in_words(what, path, of)}"
    raise FieldInvalid(said if said.endswith("?") else said.rstrip(".") + ".", field=path)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that `name` was probably meant to be, or an empty string."""
    known = list(known)
    alias = _KNOWN_AS.get(name.lower())
    if alias and alias.split(".")[0] in known:
        return alias
    by_lower = {one.lower().replace("-", "_"): one for one in known}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else ""


def field_names(of: Any) -> frozenset[str]:
    """Return the names of every field in the type `of` and the structs inside it."""
    try:
        return _field_names(of)
    except TypeError:  # an unhashable annotation
        return frozenset()


@cache
def _field_names(of: Any) -> frozenset[str]:
    return frozenset(_walk(inspect.type_info(of), set()))


def _walk(info: Any, seen: set[Any]) -> Iterator[str]:
    if isinstance(info, inspect.StructType):
        if info.cls in seen:
            return
        seen.add(info.cls)
        for field in info.fields:
            yield field.encode_name
            yield from _walk(field.type, seen)
    for inner in (*getattr(info, "types", ()), *filter(None, (getattr(info, "item_type", None),))):
        yield from _walk(inner, seen)
    for inner in filter(None, (getattr(info, "value_type", None), getattr(info, "type", None))):
        yield from _walk(inner, seen)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedJson(f"The key `{twice[:64]}` is given twice in one object.", field=twice[:64])
    return found


def _no_constant(name: str) -> NoReturn:
    raise MalformedJson(f"The body is not JSON: `{name}` is not a number JSON knows.")


_reader = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _too_deep() -> MalformedJson:
    return MalformedJson(f"The body is nested deeper than {DEPTH_MAX} levels.")


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= DEPTH_MAX:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return depth
