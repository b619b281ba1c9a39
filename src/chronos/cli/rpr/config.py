"""Defaults from a file and from the environment. What is typed wins over the environment, which wins over the file.

A key that is not known is refused, in the file as a whole and before anything runs; of the environment only the
names in the table are looked at.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from chronos.cli.rpr.flags import of
from chronos.cli.rpr.near import did_you_mean
from chronos.cli.rpr.reading import COUNT_MAX, Values, duration_s
from chronos.errors import ConfigInvalid

FILE_BYTES_MAX = 1024 * 1024
LEVELS = ("debug", "info", "warn", "error")
_TRUE, _FALSE = {"1", "t", "true", "yes", "on"}, {"0", "f", "false", "no", "off"}


class Key(NamedTuple):
    """One setting.

    Attributes:
        name: In the file, `section.key`.
        env: In the environment.
        dest: The flag's value it is the default of, or a value that has no flag.
        read: Turns text or a TOML value into the value; raises `ValueError` with what it may be.
    """

    name: str
    env: str
    dest: str
    read: Callable[[Any], Any]
    default: str
    help: str


def _duration(value: Any) -> float:
    if not isinstance(value, str):
        raise ValueError('a duration in quotes, for example "30s"')
    try:
        return duration_s(value)
    except argparse.ArgumentTypeError as exc:
        raise ValueError(f"a duration: {exc}") from None


def _count(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        text = str(value)
        if isinstance(value, bool) or not text.isascii() or not text.isdigit() or not low <= int(text[:20]) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def _switch(value: Any) -> bool:
    text = str(value).lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("true or false")
    return text in _TRUE


def _level(value: Any) -> str:
    if value not in LEVELS:
        raise ValueError(f"one of {', '.join(LEVELS)}")
    return str(value)


def _percent(value: Any) -> str:
    return f"{_count(0, 100)(value)}%"


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("text in quotes")
    return value


def _endpoint(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        raise ValueError("a URL in quotes, for example http://localhost:4318")
    return value


def _pins(value: Any) -> str:
    if isinstance(value, dict) and all(isinstance(pin, str) for pin in value.values()):
        return ",".join(f"{name}={pin}" for name, pin in value.items())
    if not isinstance(value, str) or "=" not in value:
        raise ValueError("name=SHA256, or a table of them")
    return value


_PORT = _count(1, 65_535)
OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"
KEYS: tuple[Key, ...] = (
    Key("defaults.timeout", "RPR_TIMEOUT", "timeout", _duration, "none", "`--timeout`; `0s` is none"),
    Key("defaults.max_retries", "RPR_MAX_RETRIES", "attempts", _count(1, COUNT_MAX), "`3`", "`--attempts`"),
    Key("defaults.log_level", "RPR_LOG_LEVEL", "log_level", _level, "`info`", "what is said on stderr while it runs"),
    Key("scheduling.default_interval", "RPR_DEFAULT_INTERVAL", "every", _duration, "none", "`--every` of `interval`"),
    Key("scheduling.jitter_percent", "RPR_JITTER_PERCENT", "jitter", _percent, "`0`", "`--jitter`, 0 to 100"),
    Key("observability.metrics_enabled", "RPR_METRICS_ENABLED", "metrics_enabled", _switch, "`false`", "serve metrics"),
    Key("observability.metrics_port", "RPR_METRICS_PORT", "metrics_port", _PORT, "`9090`", "where; `--metrics-port`"),
    Key("observability.health_enabled", "RPR_HEALTH_ENABLED", "health_enabled", _switch, "`false`", "serve health"),
    Key("observability.health_check_port", "RPR_HEALTH_CHECK_PORT", "health_port", _PORT, "`8080`", "`--health-port`"),
    Key("observability.address", "RPR_ADDRESS", "address", _text, "`127.0.0.1`", "the address that both listen on"),
    Key("observability.otlp_endpoint", OTLP, "otlp_endpoint", _endpoint, "none", "send spans there; `--otlp-endpoint`"),
    Key("plugins.dir", "RPR_PLUGINS_DIR", "plugin_dir", _text, "none", "`--plugin-dir`"),
    Key("plugins.pins", "RPR_PLUGINS_PINS", "plugin_pins", _pins, "none", "a table; `--plugin-pins`"),
    Key("plugins.sandbox", "RPR_PLUGINS_SANDBOX", "plugin_sandbox", _switch, "`false`", "`--plugin-sandbox`"),
)
_ONLY = {"every": ("interval",)}


def configured(subcommand: str, typed: Values, environ: Mapping[str, str]) -> Values:
    """Return what was typed, and for what was not the environment's or the file's value.

    Raises:
        ConfigInvalid: The file cannot be read, or a value in it or in the environment is wrong.
    """
    found = {**_from_file(_path(typed, environ)), **_from_environment(environ)}
    # A port that is typed is wanted; one that is configured waits for its switch.
    wanted = {f"{what}_enabled": True for what in ("health", "metrics") if f"{what}_port" in typed}
    kept = {name: value for name, value in found.items() if _belongs(name, subcommand)}
    return {**kept, **wanted, **typed}


def _belongs(name: str, subcommand: str) -> bool:
    """Whether a default says anything in this mode: `delays` has as many tries as delays, unless somebody types it."""
    if name == "attempts" and subcommand == "delays":
        return False
    flags = {flag.dest for flag in of(subcommand)}
    return subcommand in _ONLY.get(name, (subcommand,)) and (name in flags or not _is_flag(name))


def _is_flag(name: str) -> bool:
    return name in {"attempts", "every", "jitter", "timeout"}


def _path(typed: Values, environ: Mapping[str, str]) -> str:
    """Return the file to read; empty when none was named and there is none at the usual place."""
    named = typed.get("config") or environ.get("RPR_CONFIG_FILE")
    if named:
        return str(named)
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or "/nonexistent", ".config")
    usual = os.path.join(home, "rpr", "config.toml")
    return usual if os.path.isfile(usual) else ""


def _from_environment(environ: Mapping[str, str]) -> Values:
    return {key.dest: _read(key, environ[key.env], key.env) for key in KEYS if environ.get(key.env)}


def _from_file(path: str) -> Values:
    if not path:
        return {}
    by_name = {key.name: key for key in KEYS}
    values: Values = {}
    for name, value in _entries(_document(path), path):
        if name.startswith("plugins.") and isinstance(value, dict) and name not in by_name:
            # [plugins.NAME]: what it may hold is the plug-in's to say, when it is used.
            values.setdefault("plugin_options", {})[name.removeprefix("plugins.")] = value
            continue
        if name not in by_name:
            raise ConfigInvalid(
                f"the config file cannot be used: {path} has no key `{name}`.{did_you_mean(name, by_name)}"
            )
        values[by_name[name].dest] = _read(by_name[name], value, f"{path}, {name}")
    return values


def _document(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise ConfigInvalid(f"the config file cannot be used: {path} is longer than 1 MiB.")
        return tomllib.loads(text.decode("utf-8"))
    except OSError as exc:
        raise ConfigInvalid(f"the config file cannot be used: {path}: {exc.strerror}.") from None
    except (ValueError, RecursionError) as exc:
        raise ConfigInvalid(f"the config file cannot be used: {path} is no TOML: {exc}.") from None


def _entries(document: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    sections = {key.name.partition(".")[0] for key in KEYS}
    for section, table in document.items():
        if section not in sections or not isinstance(table, dict):
            hint = did_you_mean(section, sections)
            raise ConfigInvalid(f"the config file cannot be used: {path} has no section `[{section}]`.{hint}")
        yield from ((f"{section}.{name}", value) for name, value in table.items())


def _read(key: Key, value: Any, where: str) -> Any:
    try:
        return key.read(value)
    except ValueError as exc:
        raise ConfigInvalid(f"{where}: `{value}` is not {exc}.") from None
