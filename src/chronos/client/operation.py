"""One request of the API as a value: what is asked, and what type the answer has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

T = TypeVar("T")

BASE = "/api/v1"


@dataclass(frozen=True)
class Operation(Generic[T]):
    """A request that either client can send.

    Attributes:
        path: Absolute and already percent-encoded.
        returns: What the JSON of the answer is converted to.
        patience_s: How much longer than usual the server may take, because it was asked to wait.
        namespace: Where to look, instead of the client's own namespace.
        if_match: The revision that the change is based on; None sends no `If-Match`.
    """

    method: str
    path: str
    returns: type[T]
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = "application/json"
    namespace: str | None = None
    if_match: int | None = None
    patience_s: float = 0.0

    @property
    def is_read(self) -> bool:
        return self.method == "GET"


def path_of(*parts: str | int) -> str:
    """Return the API path of `parts`, each of them encoded, so that a name with a slash stays one part."""
    return "/".join([BASE, *(quote(str(part), safe="") for part in parts)])


def params_of(**given: object) -> dict[str, str]:
    """Return the query parameters that were given, as the API spells them; None and empty ones are left out."""
    return {
        name: ("true" if value else "false") if isinstance(value, bool) else str(value)
        for name, value in given.items()
        if value is not None and value != ""
    }


def json_of(value: Any) -> bytes:
    """Return the JSON of a document; the empty fields of a struct are left out, so that the server's defaults hold."""
    plain = msgspec.to_builtins(value)
    if isinstance(value, msgspec.Struct):
        plain = {name: item for name, item in plain.items() if item is not None}
    return msgspec.json.encode(plain)
