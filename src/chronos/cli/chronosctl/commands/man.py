"""`chronosctl man`: manual pages, made of the same help texts."""

from __future__ import annotations

from pathlib import Path

import click

from chronos.cli.chronosctl.lazy import leaf


@leaf()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.pass_context
def man(ctx: click.Context, directory: Path) -> None:
    """Write the manual pages into a folder, one for each command.

    \b
    Examples:
      chronosctl man ~/.local/share/man/man1 && man chronosctl-job-create
    """
    from chronos.cli.chronosctl.manual import pages

    directory.mkdir(parents=True, exist_ok=True)
    written = 0
    for name, text in pages(ctx.find_root()):
        (directory / f"{name}.1").write_text(text, "utf-8")
        written += 1
    click.echo(f"wrote {written} pages into {directory}", err=True)
