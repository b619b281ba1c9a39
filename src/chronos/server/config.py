"""The configuration: defaults, then the file, then the environment, then the flags.

Decoded once and strictly. A wrong key is refused with its line and the nearest right one; nothing in the
file is expanded, so a `$` is a `$`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from chronos.errors import ConfigInvalid, Unprocessable
from chronos.server.decoding import convert, convert_text
from chronos.server.settings import WITHOUT_EFFECT, WITHOUT_EFFECT_IN_CLUSTER, Settings

FILE_BYTES_MAX = 1 << 20

SHORT = {
    "CHRONOS_NODE_ID": "cluster.node_id",
    "CHRONOS_DATA_DIR": "cluster.data_dir",
    "CHRONOS_RAFT_ADDRESS": "cluster.raft.address",
    "CHRONOS_RAFT_PEERS": "cluster.raft.peers",
    "CHRONOS_HTTP_ADDRESS": "server.http.address",
    "CHRONOS_LOG_LEVEL": "logging.level",
    "CHRONOS_CLUSTER_NODE_ID": "cluster.node_id",
    "CHRONOS_SERVER_HTTP_ADDRESS": "server.http.address",
    "CHRONOS_LOGGING_LEVEL": "logging.level",
}
# Read by the clients, or by `chronos` itself before there is a configuration.
_NOT_OURS = {
    "CHRONOS_CONFIG",
    "CHRONOS_SERVER",
    "CHRONOS_API_KEY",
    "CHRONOS_ENDPOINT",
    "CHRONOS_CONTEXT",
    "CHRONOS_ETCD",
}

FeatureTypes = Mapping[str, Any]
"""The sections that belong to features: section name → the feature's settings type."""


@dataclass(frozen=True)
class Config:
    """What was configured.

    Attributes:
        sections: The features' settings, by section.
        notes: Sentences to log once: keys without effect, variables nobody reads.
        source: The file that was read, if one was.
    """

    settings: Settings
    sections: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    source: Path | None = None


@dataclass
class _Raw:
    """Plain data, and where each key of it comes from."""

    values: dict[str, Any]
    where: dict[str, str] = field(default_factory=dict)


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, str],
    feature_types: FeatureTypes,
) -> Config:
    """Return the configuration from all its sources.

    Args:
        path: The file; None for none.
        environ: The process's environment; only names that begin with `CHRONOS_` are read.
        flags: Dotted keys to values, from the command line.

    Raises:
        ConfigInvalid: Something in it is wrong; the message says what, and where.
    """
    raw = _read(path) if path else _Raw({})
    notes: list[str] = []
    for key, text, origin in _from_environment(environ, notes):
        _set(raw, key, _typed(key, text, feature_types, origin), origin)
    for key, text in flags.items():
        _set(raw, key, _typed(key, text, feature_types, "the command line"), "the command line")
    notes.extend(_without_effect(raw.values))
    own = {name: value for name, value in raw.values.items() if name not in feature_types}
    settings = _convert(own, Settings, raw, "", tuple(feature_types))
    _check(settings)
    sections = {name: _convert(_known(raw, name, of), of, raw, name) for name, of in feature_types.items()}
    return Config(settings, sections, notes, path)


def split_address(address: str, key: str = "server.http.address") -> tuple[str, int]:
    """Return host and port of `host:port`, `[v6]:port` or `:port` (every interface).

    Args:
        key: Where it was configured.

    Raises:
        ConfigInvalid: It is none of these.
    """
    match = re.fullmatch(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})", address)
    if match is None or int(match["port"]) > 65_535:
        raise ConfigInvalid(f"`{key}`: `{address[:100]}` is not `host:port`, like `127.0.0.1:8080`.", field=key)
    return match["six"] or match["name"] or "0.0.0.0", int(match["port"])  # noqa: S104  # `:8080` says so


def is_loopback(host: str) -> bool:
    """Whether a listener on `host` can be reached from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _read(path: Path) -> _Raw:
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ConfigInvalid(f"The configuration file {path} cannot be read: {exc.strerror}.") from exc
    if len(data) > FILE_BYTES_MAX:
        raise ConfigInvalid(f"The configuration file {path} is larger than 1 MiB.")
    try:
        tree = YAML(typ="rt").load(data.decode())
    except UnicodeDecodeError as exc:
        raise ConfigInvalid(f"{path}: the file is not UTF-8.") from exc
    except MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigInvalid(f"{path}{line}: {exc.problem or 'this is not YAML'}.") from exc
    except YAMLError as exc:
        raise ConfigInvalid(f"{path}: this is not YAML.") from exc
    if tree is None:
        return _Raw({})
    if not isinstance(tree, CommentedMap):
        raise ConfigInvalid(f"{path}: the file has to be a mapping of sections.")
    where: dict[str, str] = {}
    values = _plain(tree, "", lambda key, line: where.__setitem__(key, f"{path}, line {line}"))
    return _Raw(values, where)


def _plain(node: Any, path: str, note: Callable[[str, int], None]) -> Any:
    if isinstance(node, CommentedMap):
        found = {}
        for key, value in node.items():
            here = f"{path}.{key}" if path else str(key)
            note(here, node.lc.key(key)[0] + 1)
            found[str(key)] = _plain(value, here, note)
        return found
    if isinstance(node, CommentedSeq):
        items = []
        for i, item in enumerate(node):
            note(f"{path}[{i}]", node.lc.item(i)[0] + 1)
            items.append(_plain(item, f"{path}[{i}]", note))
        return items
    for kind in (bool, int, float, str):  # ruamel's scalars are subclasses that remember their spelling
        if isinstance(node, kind):
            return kind(node)
    return node


def _from_environment(environ: Mapping[str, str], notes: list[str]) -> list[tuple[str, str, str]]:
    found = []
    for name, text in sorted(environ.items()):
        if not name.startswith("CHRONOS_") or name in _NOT_OURS:
            continue
        if name in SHORT:
            found.append((SHORT[name], text, f"the environment's {name}"))
        elif "__" in name:
            key = name.removeprefix("CHRONOS_").lower().replace("__", ".")
            found.append((key, text, f"the environment's {name}"))
        else:
            notes.append(f"the environment's {name} is not read by the server")
    return found


def _typed(key: str, text: str, feature_types: FeatureTypes, origin: str) -> Any:
    """Return `text` as the type the key wants: lists are split at commas, numbers and booleans read."""
    of: Any = Settings
    for part in key.split("."):
        if of is Settings and part in feature_types:
            of = feature_types[part]
            continue
        of = _field_type(of, part)
        if of is None:
            return text  # unknown: the strict conversion of the whole says so, with the nearest right key
    if "list" in str(of):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return msgspec.to_builtins(convert_text({"value": text}, msgspec.defstruct("Value", [("value", of)])).value)
    except Unprocessable as exc:
        raise ConfigInvalid(f"{origin}: {str(exc).replace('`value`', f'`{key}`')}") from exc


def _field_type(of: Any, name: str) -> Any:
    if not (isinstance(of, type) and issubclass(of, msgspec.Struct)):
        return None
    return next((f.type for f in msgspec.structs.fields(of) if f.encode_name == name), None)


def _set(raw: _Raw, key: str, value: Any, origin: str) -> None:
    *parents, last = key.split(".")
    node = raw.values
    for part in parents:
        inner = node.get(part)
        if not isinstance(inner, dict):
            inner = node[part] = {}
        node = inner
    node[last] = value
    raw.where[key] = origin


def _convert(values: dict[str, Any], of: Any, raw: _Raw, section: str, others: tuple[str, ...] = ()) -> Any:
    if section == "" and isinstance(values.get("features"), list):
        values = {**values, "features": {str(name): {} for name in values["features"]}}
    values = {name: value for name, value in values.items() if value is not None}
    if not (isinstance(of, type) and issubclass(of, msgspec.Struct)):
        return values
    try:
        return convert(values, of)
    except Unprocessable as exc:
        field_name = str(exc.facts.get("field", ""))
        full = ".".join(part for part in (section, field_name) if part)
        origin = raw.where.get(full) or raw.where.get(full.rpartition(".")[0]) or raw.where.get(section) or ""
        message = str(exc).replace(f"`{field_name}`", f"`{full}`", 1) if field_name else str(exc)
        if "nearest" not in exc.facts and "There is no field" in message and "." not in full:
            message += _nearest_section(full, others)
        raise ConfigInvalid(f"{origin}: {message}" if origin else message, field=full) from exc


def _known(raw: _Raw, section: str, of: Any) -> dict[str, Any]:
    """Return a feature's section without the keys that are accepted and do nothing yet."""
    values = raw.values.get(section) or {}
    if not isinstance(values, dict):
        raise ConfigInvalid(f"{raw.where.get(section, 'The configuration')}: `{section}` has to be a mapping.")
    if not (isinstance(of, type) and issubclass(of, msgspec.Struct)):
        return values
    later = {name for name in values if f"{section}.{name}" in WITHOUT_EFFECT and name not in of.__struct_fields__}
    return {name: value for name, value in values.items() if name not in later}


def _nearest_section(name: str, others: tuple[str, ...]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, others, n=1)
    return f" Did you mean `{near[0]}`?" if near else ""


def _without_effect(values: dict[str, Any]) -> list[str]:
    cluster = values.get("cluster")
    if isinstance(cluster, dict) and cluster.get("members"):
        others = {key: why for key, why in WITHOUT_EFFECT.items() if key != "cluster.raft"}
        return _notes(values, others | WITHOUT_EFFECT_IN_CLUSTER, "has no effect")
    return _notes(values, WITHOUT_EFFECT, "has no effect in a single node")


def _notes(values: dict[str, Any], table: Mapping[str, str], saying: str) -> list[str]:
    notes = []
    for key, why in table.items():
        node: Any = values
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if node is not None:
            notes.append(f"`{key}` {saying}: {why}")
    return notes


def _check(settings: Settings) -> None:
    from chronos.server.clustered import check_cluster

    split_address(settings.server.http.address)
    check_cluster(settings.cluster)
    tls = settings.server.http.tls
    if tls.enabled and not (tls.cert_file and tls.key_file):
        raise ConfigInvalid("`server.http.tls` is enabled and needs both `cert_file` and `key_file`.")
    from chronos.timing.duration import parse_duration

    for key, text in _durations(settings, ""):
        try:
            parse_duration(text)
        except Unprocessable as exc:
            raise ConfigInvalid(f"`{key}`: {exc}", field=key) from exc


def _durations(section: msgspec.Struct, path: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for f in msgspec.structs.fields(section):
        value, here = getattr(section, f.name), f"{path}.{f.name}" if path else f.name
        if isinstance(value, msgspec.Struct):
            found.extend(_durations(value, here))
        elif isinstance(value, str) and _is_duration(f.name):
            found.append((here, value))
    return found


def _is_duration(name: str) -> bool:
    return name in {"drain", "claim_lead", "retention", "retry_for"} or name.endswith(
        ("_timeout", "_interval", "timeout")
    )
