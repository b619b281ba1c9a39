"""Where in a target references stand, and how a secret is escaped for its place. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from chronos.dispatch.http.request import is_json
from chronos.dispatch.references import Reference, references_in, replace_references
from chronos.dispatch.template import in_json
from chronos.model.target import HttpTarget

S = TypeVar("S", bound=Struct)
Values = dict[Reference, str]

URL_FIELDS = frozenset({"url", "cancel_url"})


def all_references(value: Any) -> set[Reference]:
    """Return every reference in the texts of a struct, however deep."""
    found: set[Reference] = set()

    def note(_: str, text: str) -> str:
        found.update(references_in(text))
        return text

    map_texts(value, note)
    return found


def put_in(target: S, values: Values) -> S:
    """Return `target` with every reference replaced, escaped for the field it stands in."""
    json_body = isinstance(target, HttpTarget) and has_json_body(target)

    def change(field: str, text: str) -> str:
        if "${" not in text:
            return text
        if field in URL_FIELDS:
            return in_url_text(text, values)
        if field == "body" and json_body:
            return replace_references(text, {reference: in_json(value) for reference, value in values.items()})
        return replace_references(text, values)

    return map_texts(target, change)


def in_url_text(text: str, values: Values) -> str:
    """Return a URL with its references replaced: percent-encoded in path and query, as they are before.

    A URL that is one reference, or begins with one, is taken as the secret has it.
    """
    scheme, colon, rest = text.partition("://")
    if not colon:
        return replace_references(text, values)
    cut = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    encoded = {reference: quote(value, safe="") for reference, value in values.items()}
    return replace_references(scheme + colon + rest[:cut], values) + replace_references(rest[cut:], encoded)


def has_json_body(target: HttpTarget) -> bool:
    """Whether the body is meant as JSON: by its content type or, without one, by how it begins."""
    for name, value in target.headers.items():
        if name.lower() == "content-type":
            return is_json(value)
    return target.body.lstrip()[:1] in ("{", "[", '"')


def map_texts(value: S, change: Callable[[str, str], str]) -> S:
    """Return a struct with `change(field, text)` put in place of every text in it; keys of maps stay."""
    replaced = {}
    for field in value.__struct_fields__:
        old = getattr(value, field)
        new = _mapped(old, field, change)
        if new is not old:
            replaced[field] = new
    return replace(value, **replaced) if replaced else value


def _mapped(value: Any, field: str, change: Callable[[str, str], str]) -> Any:
    # Not `isinstance`: enumerations are texts as well, and nobody writes a reference into them.
    if type(value) is str:
        return change(field, value)
    if isinstance(value, Struct):
        return map_texts(value, change)
    if isinstance(value, dict):
        return {key: _mapped(each, field, change) for key, each in value.items()}
    if isinstance(value, list):
        return [_mapped(each, field, change) for each in value]
    return value
