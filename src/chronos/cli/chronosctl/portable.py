"""A job of one server in the form that another takes: what its user wrote, without what was left at its default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from chronos.cli.chronosctl.changes import SPEC_FIELDS
from chronos.model.job import JobSpec
from chronos.model.secret import STARS
from chronos.model.target import HttpTarget, ProcessTarget

Document = dict[str, Any]


def portable(job: Mapping[str, Any]) -> Document:
    """Return a job as a file has it: no server's fields, no defaults; stopped jobs stay stopped."""
    spec = {name: value for name, value in job.items() if name in SPEC_FIELDS}
    kept = _unlike(spec, _DEFAULTS)
    for name, defaults in (("webhook", _HTTP), ("target", _defaults_of_target(spec))):
        if isinstance(kept.get(name), Mapping):
            kept[name] = _unlike(kept[name], defaults)
    if isinstance(kept.get("webhook"), dict):
        kept["webhook"].pop("type", None)
    if kept.get("enabled") is True:
        del kept["enabled"]
    return {name: kept[name] for name in JobSpec.__struct_fields__ if name in kept}


def starred_paths(document: Any, prefix: str = "") -> Iterator[str]:
    """Yield the paths at which a credential is starred out."""
    if isinstance(document, Mapping):
        for name, value in document.items():
            yield from starred_paths(value, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from starred_paths(value, f"{prefix}[{number}]")
    elif document == STARS:
        yield prefix


def _unlike(document: Mapping[str, Any], defaults: Mapping[str, Any]) -> Document:
    found: Document = {}
    for name, value in document.items():
        default = defaults.get(name)
        if isinstance(value, Mapping) and isinstance(default, Mapping) and value != default:
            found[name] = _unlike(value, default)
        elif value is not None and value != default:
            found[name] = value
    return found


def _defaults(kind: type[msgspec.Struct]) -> Document:
    found: Document = {}
    for field in msgspec.structs.fields(kind):
        if field.default is not msgspec.NODEFAULT:
            found[field.name] = msgspec.to_builtins(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            found[field.name] = field.default_factory()
    return found


def _defaults_of_target(spec: Mapping[str, Any]) -> Document:
    target = spec.get("target")
    kind = target.get("type") if isinstance(target, Mapping) else None
    return _PROCESS if kind == "process" else _HTTP if kind == "http" else {}


_DEFAULTS = {name: value for name, value in _defaults(JobSpec).items() if name not in ("target", "webhook")}
_HTTP = _defaults(HttpTarget)
_PROCESS = _defaults(ProcessTarget)
