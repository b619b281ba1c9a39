"""Which fields hold credentials, and how they are walked: sealed at rest, starred on the way out."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

STARS = "***"
"""What the API shows in place of a credential; written back, it means *keep the one you have*."""

SEALED_PREFIX = "sealed:"

Credential = Annotated[str, Meta(max_length=8_192, extra={"credential": True})]
HeaderMap = Annotated[dict[str, str], Meta(extra={"headers": True})]
CredentialMap = Annotated[dict[str, str], Meta(extra={"credentials": True})]
"""Values that are credentials whatever they are called: the environment of a program."""

_REFERENCE = re.compile(r"^\$\{(secret:)?[a-z]+:[^{}]+\}$")
_SENSITIVE_HEADER = re.compile(
    r"^(authorization|cookie|proxy-authorization|.*(token|secret|password|api-?key).*)$", re.IGNORECASE
)

S = TypeVar("S")


def is_reference(text: str) -> bool:
    """Whether `text` names a secret (`${secret:env:NAME}`) instead of being one."""
    return bool(_REFERENCE.match(text))


def is_sensitive_header(name: str) -> bool:
    """Whether the value of header `name` is a credential."""
    return bool(_SENSITIVE_HEADER.match(name))


def map_credentials(value: S, change: Callable[[str, str], str], path: str = "") -> S:
    """Return `value` with `change(path, credential)` put in place of every credential in it.

    Walks structs and lists; fields typed `Credential`, sensitive headers and every value of a program's
    environment count. References to secrets are left alone: they are names, not secrets. Paths look like
    `target.auth.token`.
    """
    return cast("S", _map(value, change, path))


def _map(value: Any, change: Callable[[str, str], str], path: str) -> Any:
    if isinstance(value, Struct):
        return _map_struct(value, change, path)
    if isinstance(value, list):
        return [_map(item, change, f"{path}[{i}]") for i, item in enumerate(value)]
    return value


def _map_struct(value: Any, change: Callable[[str, str], str], path: str) -> Any:
    replaced: dict[str, Any] = {}
    for field, mark in _walked(value.__class__):
        old = getattr(value, field)
        if old is None or (mark is None and not isinstance(old, Struct | list)):
            continue
        here = f"{path}.{field}" if path else field
        if mark == "credential":
            new = old if not old or is_reference(old) else change(here, old)
        elif mark == "headers":
            new = {
                name: change(f"{here}.{name.lower()}", text)
                if is_sensitive_header(name) and text and not is_reference(text)
                else text
                for name, text in old.items()
            }
        elif mark == "credentials":
            new = {
                name: text if not text or is_reference(text) else change(f"{here}.{name}", text)
                for name, text in old.items()
            }
        else:
            new = _map(old, change, here)
        if new is not old:
            replaced[field] = new
    return msgspec.structs.replace(value, **replaced) if replaced else value


@cache
def _walked(struct: Any) -> list[tuple[str, str | None]]:
    """Return the fields, and their marks, in which there may be a credential: most fields can have none."""
    marks, hints = _marks(struct), get_type_hints(struct)
    fields = struct.__struct_fields__
    return [(field, marks.get(field)) for field in fields if field in marks or _may_hold(hints[field])]


def _may_hold(hint: Any) -> bool:
    """Whether there may be a credential in a value of this type; what may be anything may hold one."""
    if isinstance(hint, type) and issubclass(hint, Struct):
        return hint is Struct or bool(_walked(hint))
    return hint in (Any, object) or isinstance(hint, TypeVar) or any(_may_hold(inner) for inner in get_args(hint))


@cache
def _marks(struct: type[Any]) -> dict[str, str]:
    marks: dict[str, str] = {}
    for name, hint in get_type_hints(struct, include_extras=True).items():
        for meta in _metas(hint):
            for mark in ("credential", "credentials", "headers"):
                if meta.extra and meta.extra.get(mark):
                    marks[name] = mark
    return marks


def _metas(hint: Any) -> list[Meta]:
    found = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Meta)]
    # Optional[Credential] keeps its marks one level down; containers of structs are walked by value.
    if get_origin(hint) is not None and get_origin(hint) not in (dict, list, tuple):
        for arg in get_args(hint):
            found.extend(_metas(arg))
    return found
