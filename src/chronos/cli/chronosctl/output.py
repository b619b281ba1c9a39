"""How answers are printed: a table for people, JSON or YAML for programs. Colours only on a terminal."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, tzinfo
from typing import Any

import click

from chronos.cli.chronosctl.session import Session

STATUS_COLOURS = {
    "success": "green",
    "failed": "red",
    "running": "cyan",
    "retrying": "yellow",
    "skipped": "yellow",
    "cancelled": "magenta",
    "unknown": "yellow",
}


def emit(session: Session, plain: Any, table: Callable[[Any], str]) -> None:
    """Print a document as `--output` says; `table` makes the text for people."""
    if session.output == "json":
        click.echo(as_json(plain))
    elif session.output == "yaml":
        from chronos.cli.chronosctl.yamlfile import dump_yaml

        click.echo(dump_yaml(plain), nl=False)
    else:
        click.echo(table(plain))


def say(session: Session, plain: Any, sentence: str) -> None:
    """Print the outcome of a change: one sentence for people, the whole document for programs."""
    emit(session, plain, lambda _: sentence)


def as_json(plain: Any) -> str:
    """Return a document as indented JSON."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode()


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows in columns, two blanks apart; what could steer a terminal is shown, not sent."""
    lines = [list(headers), *([visible(cell) for cell in row] for row in rows)]
    widths = [max(width_of(line[column]) for line in lines) for column in range(len(headers))]
    styled = [[style_cell(cell) for cell in line] if number else line for number, line in enumerate(lines)]
    return "\n".join(
        "  ".join(
            shown + " " * (width - width_of(plain)) for shown, plain, width in zip(line, raw, widths, strict=True)
        ).rstrip()
        for line, raw in zip(styled, lines, strict=True)
    )


def pairs(rows: Iterable[tuple[str, object]]) -> str:
    """Return `name: value` lines with the values below each other; None and empty ones are left out."""
    kept = [(name, visible(value)) for name, value in rows if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in kept), default=0) + 1
    return "\n".join(f"{name + ':':<{width}}  {style_cell(value)}" for name, value in kept)


def visible(value: object) -> str:
    """Return the text of a value on one line, control characters as escapes."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)) or "-"


def visible_text(text: str) -> str:
    """Return text of several lines with everything but line ends and tabs made visible."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def width_of(text: str) -> int:
    """Return how many columns a terminal gives to a text."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def style_cell(text: str) -> str:
    """Return a status in its colour, anything else as it is."""
    colour = STATUS_COLOURS.get(text)
    return click.style(text, fg=colour) if colour and colours_wanted() else text


def colours_wanted() -> bool:
    """Whether stdout is a terminal whose owner did not ask for none."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def local_time(text: object, zone: tzinfo | None = None) -> str:
    """Return an instant of the API as the wall time here, to the second; `-` when there is none."""
    if not isinstance(text, str) or not text:
        return "-"
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return visible(text)
    return instant.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def took(milliseconds: object) -> str:
    """Return a length of time for people: `340 ms`, `12.3 s`, `4 m 10 s`."""
    if not isinstance(milliseconds, int | float):
        return "-"
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1_000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1_000), 60)
    return f"{minutes} m {seconds} s"
