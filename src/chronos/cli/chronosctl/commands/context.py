"""`chronosctl context`: names for servers."""

from __future__ import annotations

from typing import Any

import click

from chronos.cli.chronosctl.lazy import Lazy, LazyGroup, leaf
from chronos.cli.chronosctl.output import emit, say, table
from chronos.cli.chronosctl.session import Session
from chronos.errors import Invalid, NotFound


@click.group(
    cls=LazyGroup,
    lazy={
        "list": Lazy("context:list_contexts", "Show contexts; * is the current one."),
        "use": Lazy("context:use", "Make a context the current one."),
        "set": Lazy("context:set_context", "Create or change a context."),
        "delete": Lazy("context:delete", "Forget a context."),
    },
)
def context() -> None:
    """Names for servers, kept in ~/.config/chronos/config.yaml (0600)."""


@leaf("list")
@click.pass_obj
def list_contexts(session: Session) -> None:
    """Show contexts; * is the current one. Keys are not shown."""
    found = session.contexts
    plain = [
        {
            "name": name,
            "current": name == found.current,
            "server": entry.server,
            "namespace": entry.namespace,
            "key": _key_source(entry),
        }
        for name, entry in sorted(found.contexts.items())
    ]
    emit(session, plain, _contexts_table)


@leaf()
@click.argument("name")
@click.pass_obj
def use(session: Session, name: str) -> None:
    """Make a context the current one."""
    from msgspec.structs import replace

    from chronos.cli.chronosctl.contexts import pick, save

    pick(session.contexts, name, session.config_path)
    save(session.config_path, replace(session.contexts, current=name))
    say(session, {"current": name}, f"using {name}")


@leaf("set")
@click.argument("name")
@click.option("--key-stdin", is_flag=True, help="Read the API key from standard input and keep it in the file.")
@click.pass_obj
def set_context(session: Session, name: str, key_stdin: bool) -> None:
    """Create or change a context: what is given is changed. The first one becomes the current one.

    \b
    Examples:
      chronosctl context set local --server http://127.0.0.1:8080 --data-dir ./data
      chronosctl context set prod --server https://chronos.example.com --key-stdin < prod.key
    """
    from pathlib import Path

    from msgspec.structs import replace

    from chronos.cli.chronosctl.contexts import Context, save

    given: dict[str, Any] = {
        "server": session.flag_server,
        "namespace": session.flag_namespace,
        "ca_file": session.flag_ca_file,
        "api_key_file": session.flag_api_key_file and str(Path(session.flag_api_key_file).absolute()),
        "data_dir": session.flag_data_dir and str(Path(session.flag_data_dir).absolute()),
        "api_key": _key_from_stdin() if key_stdin else None,
    }
    found = session.contexts
    entry = replace(found.contexts.get(name, Context()), **{key: value for key, value in given.items() if value})
    entries = {**found.contexts, name: entry}
    save(session.config_path, replace(found, contexts=entries, current=found.current or name))
    say(session, {"name": name, "server": entry.server}, f"context {name} is {entry.server or 'the default server'}")


@leaf()
@click.argument("name")
@click.pass_obj
def delete(session: Session, name: str) -> None:
    """Forget a context."""
    from msgspec.structs import replace

    from chronos.cli.chronosctl.contexts import save

    found = session.contexts
    if name not in found.contexts:
        raise NotFound(f"There is no context `{name}`.")
    left = {key: entry for key, entry in found.contexts.items() if key != name}
    current = None if found.current == name else found.current
    save(session.config_path, replace(found, contexts=left, current=current))
    say(session, {"deleted": name}, f"deleted context {name}")


def _key_from_stdin() -> str:
    import sys

    key = sys.stdin.readline(4_096).strip()
    if not key:
        raise Invalid("There is no API key on standard input.")
    return key


def _key_source(entry: Any) -> str | None:
    if entry.api_key:
        return "in this file"
    return entry.api_key_file or (f"admin.key in {entry.data_dir}" if entry.data_dir else None)


def _contexts_table(plain: list[Any]) -> str:
    if not plain:
        return "There are no contexts. `chronosctl context set --help` shows how to make one."
    rows = [
        (f"{item['name']}{' *' if item['current'] else ''}", item["server"], item["namespace"], item["key"])
        for item in plain
    ]
    return table(("NAME", "SERVER", "NAMESPACE", "KEY"), rows)
