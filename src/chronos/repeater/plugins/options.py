"""The options of a plug-in: what its `Options` says about them, and values brought into their types."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec.inspect import LiteralType, Metadata, StructType, Type, type_info

from chronos.errors import DurationInvalid
from chronos.repeater.plugins.port import Field, PluginInvalid
from chronos.timing.duration import SECOND_US, format_duration, parse_duration


def described(options: type[msgspec.Struct]) -> list[Field]:
    """Return the options in the order they are written."""
    return [
        Field(_dashed(field.encode_name), _type_name(field.type), _default(field), _extra(field.type, "description"))
        for field in _info(options).fields
    ]


def converted(options: type[msgspec.Struct], given: Mapping[str, Any], plugin: str) -> msgspec.Struct:
    """Return the options as the plug-in takes them.

    Args:
        given: Name → text from a command line, or a value from a file.

    Raises:
        PluginInvalid: There is no such option, one is missing, or one is not of its type; in one line.
    """
    known = {_dashed(field.encode_name): field for field in _info(options).fields}
    values = {}
    for name, value in given.items():
        field = known.get(_dashed(name))
        if field is None:
            raise PluginInvalid(f"plug-in `{plugin}` has no option --{_dashed(name)}.{_hint(_dashed(name), known)}")
        values[field.encode_name] = _value(field.type, value, f"plug-in `{plugin}`: --{_dashed(name)}")
    for name, field in known.items():
        if field.required and field.encode_name not in values:
            raise PluginInvalid(f"plug-in `{plugin}` needs --{name} ({_type_name(field.type)}).")
    try:
        return msgspec.convert(values, options, strict=False)
    except msgspec.ValidationError as exc:
        raise PluginInvalid(f"plug-in `{plugin}`: {str(exc).replace('`$.', '`')}.") from None


def _info(options: type[msgspec.Struct]) -> StructType:
    found = type_info(options)
    assert isinstance(found, StructType)
    return found


def _hint(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    if near:
        return f" Did you mean --{near[0]}?"
    return f" It has: {', '.join(f'--{each}' for each in known)}." if known else " It takes none."


def _value(of: Type, value: Any, where: str) -> Any:
    if _extra(of, "format") != "duration":
        return value
    try:
        return parse_duration(str(value)) / SECOND_US
    except DurationInvalid as exc:
        raise PluginInvalid(f"{where}: {exc}") from None


def _extra(of: Type, key: str) -> str:
    return str((of.extra_json_schema or {}).get(key, "")) if isinstance(of, Metadata) else ""


def _type_name(of: Type) -> str:
    """Return what a person calls the type: `duration`, `int`, `bool`."""
    if _extra(of, "format"):
        return _extra(of, "format")
    inner = of.type if isinstance(of, Metadata) else of
    if isinstance(inner, LiteralType):
        return "|".join(map(str, inner.values))
    return type(inner).__name__.removesuffix("Type").lower()


def _default(field: msgspec.inspect.Field) -> str | None:
    if field.required:
        return None
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if _extra(field.type, "format") == "duration":
        return format_duration(round(value * SECOND_US))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _dashed(name: str) -> str:
    return name.replace("_", "-")
