"""`chronosctl cluster snapshot`: what a node has, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from chronos.cli.chronosctl.lazy import leaf
from chronos.cli.chronosctl.output import say
from chronos.cli.chronosctl.session import Session

_FILE = click.Path(path_type=Path, dir_okay=False)


@leaf()
@click.argument("file", type=_FILE)
@click.option("--passphrase-file", type=_FILE, help="A file only you can read: its first line encrypts the snapshot.")
@click.option("--replace", is_flag=True, help="Replace FILE if it is there.")
@click.pass_obj
def snapshot(session: Session, file: Path, passphrase_file: Path | None, replace: bool) -> None:
    """Write what the node has that is asked to FILE: jobs and their versions, history, and the cluster's log.

    `chronos restore` makes the data folder of a server out of it, which stands alone. Keys are never sent over the
    network, so they are not in it; `chronos backup` beside the data folder takes them along. A node that is behind
    needs no file: it fetches from the others by itself. FILE is there, checked and whole, when the command ends
    well, and not otherwise. It needs the permission `cluster:backup`.

    \b
    Examples:
      chronosctl cluster snapshot before-the-upgrade.backup
      chronosctl cluster snapshot n2.backup -s http://10.0.0.2:8080 --passphrase-file backup.pass -o json
    """
    from chronos.cli.chronosctl.keyfile import read_passphrase
    from chronos.cli.chronosctl.progress import bytes_told
    from chronos.cli.chronosctl.snapshots import Snapshot
    from chronos.client import operations as ops
    from chronos.timing.clock import SystemChance

    target = Snapshot(
        file,
        session.given_chance or SystemChance(),
        passphrase=read_passphrase(passphrase_file),
        replace=replace,
        on_bytes=bytes_told("written"),
    )
    told = _document(file, target.save(lambda: session.client.pieces(ops.take_snapshot())), target)
    told["encrypted"] = passphrase_file is not None
    say(session, told, _in_words(told))


def _document(file: Path, told: Any, target: Any) -> dict[str, Any]:
    from chronos.timing.clock import utc

    def stamp(us: int) -> str:
        return utc(us // 1_000_000).strftime("%Y-%m-%dT%H:%M:%SZ")

    return {
        "file": str(file),
        "bytes": target.bytes,
        "encrypted": False,
        "keys": False,
        "taken_at": stamp(told.taken_us),
        "version": told.version,
        "node": told.taken_on,
        "jobs": told.jobs,
        "has_log": told.has_log,
        "first_entry": told.first,
        "last_entry": told.last,
        "state_entry": told.state_entry,
        "reaches_back_to": stamp(told.reaches_back_us),
    }


def _in_words(told: dict[str, Any]) -> str:
    from chronos.cli.chronosctl.progress import size_of

    kind = "encrypted" if told["encrypted"] else "not encrypted"
    what = f"{told['node']} up to entry {told['last_entry']}, {told['jobs']} jobs, {size_of(told['bytes'])}"
    reaches = f"it can be restored as of {told['reaches_back_to']} or later"
    if not told["has_log"]:
        reaches = "without the log, which only a majority can read: it holds what this node had folded, and no more"
    return f"{told['file']}: {what}, {kind}, without keys\n{reaches}"
