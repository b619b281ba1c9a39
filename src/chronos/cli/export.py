"""`chronos export`: the past of a server that is down."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from typing import BinaryIO

    from chronos.store.exporting import Wanted

FAILED, USAGE = 75, 2


@click.command()
@click.option("--data-dir", default="data", show_default=True, type=click.Path(path_type=Path), help="Where it lies.")
@click.option("--to", "file", metavar="FILE", default="-", show_default=True, help="A new file; - is standard output.")
@click.option("--namespace", help="Of this namespace only. [default: all]")
@click.option("--since", metavar="INSTANT", help="Due at or after: 2027-01-01, or 2h (ago).")
@click.option("--until", metavar="INSTANT", help="Due before.")
def export(data_dir: Path, file: str, namespace: str | None, since: str | None, until: str | None) -> None:
    """Write all that the data folder of a stopped server knows, to be verified.

    The folder is read and left as it is, byte for byte; what is being written in it is copied to where temporary
    files lie (TMPDIR). A FILE that ends in .gz is compressed. A server that runs is asked with `chronosctl export`.

    \b
    Examples:
      chronos export --data-dir /var/lib/chronos --to dead.ndjson.gz
      chronos verify dead.ndjson.gz
    """
    from chronos.cli.chronosctl.exits import line_of
    from chronos.errors import ChronosError, DataFolderInUse, FormatUnreadable, Invalid, NotFound

    try:
        rows = asyncio.run(_export(data_dir, file, _wanted(namespace, since, until)))
    except ChronosError as exc:
        hint = " Ask it with `chronosctl export`." if isinstance(exc, DataFolderInUse) else ""
        click.echo(f"chronos: {line_of(exc)}{hint}", err=True)
        sys.exit(USAGE if isinstance(exc, NotFound | Invalid) else 65 if isinstance(exc, FormatUnreadable) else FAILED)
    click.echo(f"Exported {rows} records.", err=True)


def _wanted(namespace: str | None, since: str | None, until: str | None) -> Wanted:
    from msgspec.structs import replace

    from chronos.cli.chronosctl.when import parse_instant
    from chronos.store.exporting import Wanted
    from chronos.timing.clock import SystemClock

    clock, wanted = SystemClock(), Wanted(namespace=namespace)
    if since:
        wanted = replace(wanted, since_s=int(parse_instant(since, clock, option="--since").timestamp()))
    if until:
        wanted = replace(wanted, until_s=int(parse_instant(until, clock, option="--until").timestamp()) - 1)
    return wanted


async def _export(data_dir: Path, file: str, wanted: Wanted) -> int:
    from chronos.server.looking import exporter_of
    from chronos.store.sqlitefile import translated
    from chronos.timing.clock import SystemChance, SystemClock

    async with exporter_of(data_dir, SystemClock(), SystemChance()) as exporter:
        rows = 0
        with translated(Path(file)), _Out(file) as out, suppress(BrokenPipeError):  # the reader may leave (`| head`)
            async for piece in exporter.begin(wanted):
                out.write(piece)
                rows += piece.count(b'{"type":"execution"') + piece.count(b'{"type":"range"')
        return rows


class _Out:
    """The file to be written, gone again when it was not written whole."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._files: list[Any] = []

    def __enter__(self) -> BinaryIO:
        import gzip

        from chronos.errors import Invalid

        if self._name == "-":
            return sys.stdout.buffer
        try:
            self._files.append(Path(self._name).open("xb"))
        except OSError as exc:
            why = "it is there already" if isinstance(exc, FileExistsError) else exc.strerror
            raise Invalid(f"--to: {self._name} cannot be written: {why}.") from exc
        if self._name.endswith(".gz"):
            self._files.append(gzip.open(self._files[0], "wb", 6))
        found: BinaryIO = self._files[-1]
        return found

    def __exit__(self, kind: object, *_: object) -> None:
        is_whole = False
        try:
            for file in reversed(self._files):
                file.close()
            is_whole = kind is None
        finally:
            if not is_whole and self._files:
                Path(self._name).unlink(missing_ok=True)
