"""From the command tree to manual pages (troff) and to the reference (Markdown): the help is the source of both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc

import click

from chronos import __version__
from chronos.cli.chronosctl.exits import MEANINGS


def walk(ctx: click.Context) -> Iterator[click.Context]:
    """Yield a context for every command below `ctx`, itself first, in the order of the help."""
    yield ctx
    command = ctx.command
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            child = command.get_command(ctx, name)
            assert child is not None
            yield from walk(click.Context(child, info_name=name, parent=ctx))


def pages(root: click.Context) -> Iterator[tuple[str, str]]:
    """Yield (name, troff) of every command: `chronosctl-job-create` and its manual page."""
    for ctx in walk(root):
        yield ctx.command_path.replace(" ", "-"), page(ctx)


def page(ctx: click.Context) -> str:
    """Return one command's manual page."""
    name = ctx.command_path.replace(" ", "-")
    text = cleandoc(ctx.command.help or "")
    parts = [
        f'.TH "{name.upper()}" 1 "" "Chronos {__version__}" "Chronos"',
        ".SH NAME",
        f"{name} \\- {_troff(_first_line(text)).removesuffix('.')}",
        ".SH SYNOPSIS",
        f".B {_troff(ctx.command_path)}",
        _troff(" ".join(ctx.command.collect_usage_pieces(ctx))),
        ".SH DESCRIPTION",
        *_paragraphs(text),
        *_section("OPTIONS", _options(ctx)),
        *_section("COMMANDS", _commands(ctx)),
        *_section("EXIT STATUS", [(str(code), meaning) for code, meaning in MEANINGS.items()]),
    ]
    return "\n".join(parts) + "\n"


def markdown(root: click.Context) -> str:
    """Return the reference of all commands as Markdown."""
    parts = ["# chronosctl", "", "Made from the commands' own help; do not edit.", "", *_markdown_exits()]
    for ctx in walk(root):
        text = cleandoc(ctx.command.help or "").replace("\b\n", "")
        usage = " ".join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)])
        body, _, examples = text.partition("Examples:\n")
        parts += ["", f"## {ctx.command_path}", "", "```", usage, "```", "", body.strip()]
        if examples:
            parts += ["", "```sh", cleandoc(examples), "```"]
        for title, rows in (("Options", _options(ctx, common=ctx.parent is None)), ("Commands", _commands(ctx))):
            if rows:
                parts += ["", f"| {title} | |", "|---|---|", *(f"| `{_cell(a)}` | {_cell(b)} |" for a, b in rows)]
    return "\n".join(parts) + "\n"


def _markdown_exits() -> list[str]:
    rows = [f"| {code} | {meaning} |" for code, meaning in MEANINGS.items()]
    return ["## Exit codes", "", "| Code | Meaning |", "|---|---|", *rows]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _options(ctx: click.Context, *, common: bool = True) -> list[tuple[str, str]]:
    from chronos.cli.chronosctl.lazy import common_options

    everywhere = {param.name for param in common_options()}
    rows = []
    for param in ctx.command.get_params(ctx):
        record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
        if record and (common or param.name not in everywhere):
            rows.append(record)
    return rows


def _commands(ctx: click.Context) -> list[tuple[str, str]]:
    command = ctx.command
    if not isinstance(command, click.Group):
        return []
    found = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
    return [(name, child.get_short_help_str(120)) for name, child in found if child is not None]


def _section(title: str, rows: list[tuple[str, str]]) -> list[str]:
    if not rows:
        return []
    lines = [f".SH {title}"]
    for term, text in rows:
        lines += [".TP", f"\\fB{_troff(term)}\\fP", _troff(text) or "\\&"]
    return lines


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        verbatim = block.startswith("\b\n")
        body = block.removeprefix("\b\n")
        lines.append(".PP")
        lines += [".nf", *map(_troff, body.splitlines()), ".fi"] if verbatim else [_troff(" ".join(body.split()))]
    return lines


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _troff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    # A line that begins with a dot or a quote would be read as a command of troff's.
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def main() -> None:
    """Print the reference of `chronosctl` as Markdown."""
    from chronos.cli.chronosctl.root import cli

    click.echo(markdown(click.Context(cli, info_name="chronosctl")), nl=False)


if __name__ == "__main__":
    main()
