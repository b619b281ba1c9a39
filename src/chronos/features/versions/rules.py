"""What differs between two specs, and how that reads."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec.structs import replace

from chronos.features.versions.model import Change, ChangeKind
from chronos.model.job import JobSpec
from chronos.model.secret import STARS, map_credentials

VALUE_CHARS_MAX = 200

_SIGNS = {ChangeKind.ADDED: "+", ChangeKind.REMOVED: "-", ChangeKind.MODIFIED: "~"}


def starred(spec: JobSpec) -> JobSpec:
    """Return `spec` as it may be shown: stars in place of every credential."""
    return map_credentials(spec, lambda _path, _text: STARS)


def changes(old: JobSpec, new: JobSpec) -> list[Change]:
    """Return the fields that differ, by path.

    Nothing is opened to compare credentials: sealed, one that was given again as it was is the same.
    """
    before, after = _leaves(old), _leaves(new)
    shown_before, shown_after = _leaves(starred(old)), _leaves(starred(new))
    return [
        _change(path, shown_before.get(path), shown_after.get(path))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]


def as_text(found: list[Change], old_version: int, new_version: int) -> str:
    """Return the changes as lines for people: `~ schedule: "0 2 * * *" → "0 3 * * *"`."""
    lines = [f"v{old_version} → v{new_version}" + ("" if found else ": nothing changed")]
    for change in found:
        values = [_short(v) for v in (change.old, change.new) if v is not None]
        lines.append(f"{_SIGNS[change.kind]} {change.path}: {' → '.join(values)}")
    return "\n".join(lines) + "\n"


def _change(path: str, old: Any, new: Any) -> Change:
    if old is None:
        return Change(path=path, kind=ChangeKind.ADDED, new=new)
    if new is None:
        return Change(path=path, kind=ChangeKind.REMOVED, old=old)
    return Change(path=path, kind=ChangeKind.MODIFIED, old=old, new=new)


def _leaves(spec: JobSpec) -> dict[str, Any]:
    """Return every value by its path. None is absence; a list of plain values is one value.

    `enabled` is left out: it is what a job does now, kept outside its versions.
    """
    leaves: dict[str, Any] = {}

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{path}.{key}" if path else key, item)
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for i, item in enumerate(value):
                walk(f"{path}[{i}]", item)
        elif value is not None:
            leaves[path] = value

    walk("", msgspec.to_builtins(replace(spec, enabled=None)))
    return leaves


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"
