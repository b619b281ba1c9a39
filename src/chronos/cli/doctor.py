"""`chronos doctor`: what can be said of a data folder without starting a server on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from chronos.store.survey import LogFound, Surveyed

FAILED, USAGE = 1, 2


@click.command()
@click.option("--data-dir", default="data", show_default=True, type=click.Path(path_type=Path), help="Where to look.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print it.")
def doctor(data_dir: Path, output: str) -> None:
    """Say which format each file of a data folder has, and whether this release reads it.

    Changes nothing. Whether a server is well is asked with `chronosctl doctor`. The exit code is 1 when there is a
    file that this release would refuse.
    """
    from chronos import __version__
    from chronos.store.survey import look_at_log, survey

    if not data_dir.is_dir():
        click.echo(f"chronos: {data_dir} is not a data folder; --data-dir names it.", err=True)
        sys.exit(USAGE)
    try:
        found, log = survey(data_dir), look_at_log(data_dir)
    except PermissionError as exc:
        click.echo(f"chronos: {exc.filename} cannot be read by this user; ask as the server's user, or root.", err=True)
        sys.exit(USAGE)
    if output == "json":
        _print_json(found, log)
    else:
        click.echo(f"this is release {__version__}")
        for one in found:
            click.echo(_line(one))
        if log is not None:
            click.echo(_log_line(log))
    sys.exit(FAILED if any(one.refused for one in found) else 0)


def _print_json(found: list[Surveyed], log: LogFound | None) -> None:
    import msgspec

    from chronos import __version__

    click.echo(msgspec.json.format(msgspec.json.encode({"release": __version__, "files": found, "log": log}), indent=2))


def _line(one: Surveyed) -> str:
    mark = "PROBLEM" if one.refused else "ok"
    has = f"format {one.format}" if one.format else "format unknown"
    advice = f"\n         → {one.refused or one.note}" if one.refused or one.note else ""
    return f"{mark:<7}  {one.file:<22} {one.what}: {has}, this release reads {one.reads}{advice}"


def _log_line(log: LogFound) -> str:
    weighs = f"log      entries {log.first} to {log.last}, {log.bytes / 1e6:.1f} MB"
    if not log.backup_entry:
        return f"{weighs}; no backup was ever taken"
    if log.reaches_backup:
        return f"{weighs}; goes on from the last backup (entry {log.backup_entry})"
    return (
        f"{weighs}; begins behind the last backup (entry {log.backup_entry})\n"
        "         → no instant in between can be restored; back up more often, or raise cluster.log_held_bytes"
    )
