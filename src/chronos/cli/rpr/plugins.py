"""`rpr plugins list | info NAME | check FILE`: what plug-ins there are, what they take, whether to trust a file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from chronos.cli.printing import show
from chronos.cli.rpr.config import configured
from chronos.cli.rpr.near import did_you_mean
from chronos.cli.rpr.plugged import catalog_of, loaded
from chronos.errors import Invalid
from chronos.repeater.plugins.catalog import Entry
from chronos.repeater.plugins.folder import Folder
from chronos.repeater.plugins.port import Field, Kind, PluginInvalid

DOES = {"list": 0, "info": 1, "check": 1}
TAKES = {"--plugin-dir": "plugin_dir", "--plugin-pins": "plugin_pins", "--config": "config", "-o": "o", "--output": "o"}

HELP = """\
rpr plugins: what decides when to run, how a run is made, or what becomes of its output.

USAGE
  rpr plugins list           List plug-ins: those of installed packages, and of the plug-in directory.
  rpr plugins info NAME      Show what a plug-in does and which options it takes. This loads it.
  rpr plugins check FILE     Say whether a file may be used, and what pins it. Nothing of it is run.

FLAGS
  --plugin-dir DIR           The directory with plug-ins; also `dir` under [plugins] in the config file.
  --plugin-pins NAME=SHA256  The files to trust; also [plugins.pins] in the config file.
  --config FILE              Read defaults from this TOML file.
  -o, --output table|json    How to print it (table).

A plug-in is used as `rpr plugin NAME --option value -- COMMAND`, or in any mode with `--executor NAME` or
`--output NAME`. Exit codes: 0 done, 2 the command line is wrong or the plug-in is refused.
"""


def plugins(words: Sequence[str]) -> int:
    """Do what was typed behind `rpr plugins`; return the exit code.

    Raises:
        Invalid: The words have no meaning.
    """
    names, values = _taken_apart(words)
    if "help" in values or not names:
        return show(HELP)
    action, *arguments = names
    if action not in DOES:
        hint = did_you_mean(action, DOES)
        raise Invalid(f"unknown action `{action}` of `rpr plugins`.{hint} There are: list, info, check.")
    if len(arguments) != DOES[action]:
        needs = {"list": "no name", "info": "one NAME", "check": "one FILE"}[action]
        raise Invalid(f"`rpr plugins {action}` takes {needs}; `rpr plugins --help` shows how.")
    if values.get("o", "table") not in ("table", "json"):
        raise Invalid(f"-o: `{values['o']}` is not one of: table, json.")
    values = configured("plugins", values, os.environ)
    done: dict[str, Any] = {"list": _list, "info": _info, "check": _check}
    document, table = done[action](values, *arguments)
    return show(json.dumps(document, indent=2, ensure_ascii=False) + "\n" if values.get("o") == "json" else table)


def _taken_apart(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    left, names, values = list(words), [], {}
    while left:
        word = left.pop(0)
        flag, equals, value = word.partition("=")
        if word in ("--help", "-h"):
            values["help"] = "yes"
        elif not word.startswith("-"):
            names.append(word)
        elif flag not in TAKES:
            raise Invalid(f"unknown flag `{flag}`.{did_you_mean(flag, TAKES)} `rpr plugins --help` lists them.")
        elif not equals and not left:
            raise Invalid(f"`{flag}` needs a value.")
        else:
            values[TAKES[flag]] = value if equals else left.pop(0)
    return names, values


def _list(values: Mapping[str, Any]) -> tuple[Any, str]:
    entries = catalog_of(values).entries()
    if not entries:
        return [], "No plug-ins: none is installed, and none lies in a plug-in directory (--plugin-dir DIR).\n"
    return [entry._asdict() for entry in entries], _table(entries)


def _table(entries: list[Entry]) -> str:
    rows = [("NAME", "KIND", "VERSION", "STATE", "")]
    rows += [(e.name, e.kind, e.version, e.state, e.why or e.description or e.origin) for e in entries]
    return _aligned(rows)


def _info(values: Mapping[str, Any], name: str) -> tuple[Any, str]:
    source = catalog_of(values).find(name)
    header, fields = source.header, loaded(source, values).fields()
    facts = {
        "name": header.name,
        "kind": header.kind.value,
        "version": header.version,
        "description": header.description,
        "sandbox": bool(header.sandbox or values.get("plugin_sandbox")),
        "origin": source.path,
        "sha256": source.sha256,
    }
    document = {**facts, "options": [field._asdict() for field in fields]}
    lines = [f"{key + ':':<13}{_shown(value)}" for key, value in facts.items()]
    lines += ["use:", f"  {_usage(header.name, header.kind)}", "options:" if fields else "options:     none"]
    return document, "\n".join(lines) + "\n" + (_aligned([_row(field) for field in fields]) if fields else "")


def _usage(name: str, kind: Kind) -> str:
    used = {
        Kind.SCHEDULER: f"rpr plugin {name} --OPTION VALUE -- COMMAND",
        Kind.EXECUTOR: f"rpr count --times 1 --executor {name}:OPTION=VALUE -- COMMAND",
        Kind.OUTPUT: f"rpr count --times 1 --output {name}:OPTION=VALUE -- COMMAND",
    }
    return used[kind]


def _row(field: Field) -> tuple[str, ...]:
    default = "needed" if field.default is None else f"default {field.default}"
    return (f"  --{field.name}", field.type, default, field.description)


def _check(values: Mapping[str, Any], path: str) -> tuple[Any, str]:
    folder, file = os.path.split(os.path.abspath(path))
    name, suffix = os.path.splitext(file)
    if suffix != ".py":
        raise PluginInvalid(f"{path}: a plug-in is one Python file, NAME.py.")
    source = Folder(folder, {}).unpinned(name)
    header = source.header
    document = {"name": name, "kind": header.kind.value, "version": header.version, "sandbox": header.sandbox}
    pin = f'{name} = "{source.sha256}"'
    text = (
        f"{path}: {header.kind} `{name}` {header.version}, {header.description}\n"
        f"It may be used once it is pinned. Read it; if you trust it, put this under [plugins.pins]:\n{pin}\n"
    )
    return {**document, "sha256": source.sha256}, text


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
