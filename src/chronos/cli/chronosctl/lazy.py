"""Groups that load a command when it is called, and commands that take the common options at their end too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple

import click

from chronos.cli.chronosctl.session import Session

OUTPUTS = ("table", "json", "yaml")


class Lazy(NamedTuple):
    """Where a command is (`module:name`, the module below `commands`) and what the help says of it."""

    where: str
    help: str


class LazyGroup(click.Group):
    """A group whose commands are looked up in a table, so that its help imports none of them."""

    def __init__(self, *args: Any, lazy: Mapping[str, Lazy] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return None
        module, _, name = self.lazy[cmd_name].where.partition(":")
        loaded = getattr(import_module(f"chronos.cli.chronosctl.commands.{module}"), name)
        assert isinstance(loaded, click.Command)
        return loaded

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.lazy.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.lazy:
            near = get_close_matches(args[0], self.lazy, n=1)
            hint = f" Did you mean `{near[0]}`?" if near else f" There are {', '.join(self.lazy)}."
            raise click.UsageError(f"`{args[0]}` is no command.{hint}", ctx)
        return super().resolve_command(ctx, args)


class Leaf(click.Command):
    """A command that takes `-s`, `-n`, `-o` and the like behind its own options, where people type them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(common_options())


def leaf(name: str | None = None) -> Callable[[Callable[..., Any]], Leaf]:
    """Return a decorator that makes a `Leaf` of a function."""
    return click.command(name, cls=Leaf, context_settings={"help_option_names": ["-h", "--help"]})


def common_options() -> list[click.Parameter]:
    """Return the options that every command takes. What stands nearer to the end of the line wins."""

    def option(*names: str, **kwargs: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=_note, **kwargs)

    return [
        option("-s", "--server", metavar="URL", help="Address of the server [CHRONOS_SERVER]."),
        option("-n", "--namespace", metavar="NAME", help="Namespace to work in [CHRONOS_NAMESPACE]."),
        option("-o", "--output", type=click.Choice(OUTPUTS), help="How to print what comes back."),
        option("--context", metavar="NAME", help="Context of the configuration file [CHRONOS_CONTEXT]."),
        option("--api-key-file", metavar="FILE", help="File with the API key; or set CHRONOS_API_KEY."),
        option("--data-dir", metavar="DIR", help="The server's data folder on this machine: use its admin key."),
        option("--ca-file", metavar="FILE", help="Certificates to trust for https [CHRONOS_CA_FILE]."),
        option("--request-timeout", metavar="DURATION", help="Longest wait for one answer, like 30s."),
    ]


def _note(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        session = ctx.ensure_object(Session)
        setattr(session, f"flag_{param.name}", value)
