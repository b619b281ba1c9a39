"""What a file would change about a job. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from chronos.errors import JobInvalid
from chronos.model.job import JobSpec
from chronos.model.secret import STARS

Document = Mapping[str, Any]

SPEC_FIELDS = frozenset(JobSpec.__struct_fields__)


class Change(NamedTuple):
    """One field that would become another value."""

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if self.old == STARS:
            return f"{self.path}: {STARS} → given again (only the server can compare it)"
        return f"{self.path}: {_shown(self.old)} → {_shown(self.new)}"


def changes(current: Document, wanted: JobSpec) -> list[Change]:
    """Return how `current`, a job as the server shows it, differs from `wanted`, ordered by path.

    `enabled` is left alone when the file does not say it. A credential that the server stars out counts
    as changed unless the file has the stars too: a rotated password must not pass unseen.
    """
    old = flat(normal(current))
    new = flat(_plain(wanted.normal()))
    paths = sorted(old.keys() | new.keys())
    found = [Change(path, old.get(path), new.get(path)) for path in paths if old.get(path) != new.get(path)]
    return [change for change in found if not (change.path == "enabled" and wanted.enabled is None)]


def normal(document: Document) -> dict[str, Any]:
    """Return the part of a job that its user wrote, in the one form that comparing needs.

    A field that this client does not know is kept as it is: the server may be newer.
    """
    spec = {name: value for name, value in document.items() if name in SPEC_FIELDS and value is not None}
    try:
        return _plain(msgspec.convert(spec, JobSpec).normal())
    except (msgspec.ValidationError, JobInvalid):
        return spec


def flat(document: Document, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted paths; empty and null values are left out."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, Mapping):
            found |= flat(value, path)
        elif value not in (None, "", []):
            found[path] = value
    return found


def _plain(spec: JobSpec) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(spec)
    return plain


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 100 else text[:97] + "…"
