"""`chronos backup` and `chronos restore`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chronos.server.backup.manifest import Manifest
    from chronos.server.backup.saving import Target

_FILE = click.Path(path_type=Path, dir_okay=False)

_output = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
_passphrase = click.option(
    "--passphrase-file", type=_FILE, help="A file only you can read: its first line encrypts the backup."
)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--data-dir", default="data", show_default=True, type=click.Path(path_type=Path), help="What to back up.")
@click.option("--server", help="The server that runs on it. [default: $CHRONOS_SERVER, http://127.0.0.1:8080]")
@click.option("--api-key-file", type=_FILE, help="A key that may `cluster:backup`. [default: DATA_DIR/admin.key]")
@click.option("--ca-file", type=_FILE, help="Certificates to trust for https.")
@_passphrase
@click.option("--plain", is_flag=True, help="Leave it as it is: whoever has the file has every credential in it.")
@click.option("--without-keys", is_flag=True, help="Leave the keys out: sealed credentials have to be written again.")
@click.option("--replace", is_flag=True, help="Replace FILE if it is there.")
@_output
def backup(
    file: Path,
    data_dir: Path,
    server: str | None,
    api_key_file: Path | None,
    ca_file: Path | None,
    passphrase_file: Path | None,
    plain: bool,
    without_keys: bool,
    replace: bool,
    output: str,
) -> None:
    """Write one file that holds everything: jobs and their versions, history, the log, and the keys.

    The server may go on running: it is asked for what it has. With --server it may be on another machine, and
    its keys stay there (--without-keys). FILE is there when the command ends well, whole, and not otherwise.

    \b
    Examples:
      chronos backup chronos.backup --passphrase-file backup.pass
      chronos backup chronos.backup --data-dir /var/lib/chronos --plain
      chronos backup chronos.backup --server https://cron.example.com --api-key-file my.key --without-keys
    """
    from chronos.cli.chronosctl.keyfile import read_passphrase
    from chronos.cli.chronosctl.progress import bytes_told
    from chronos.server.backup.saving import Target
    from chronos.timing.clock import SystemChance

    with _errors():
        _check_choice(passphrase_file, plain=plain, without_keys=without_keys)
        target = Target(
            file,
            SystemChance(),
            passphrase=read_passphrase(passphrase_file),
            replace=replace,
            on_bytes=bytes_told("written"),
        )
        target.check()
        source = _Source(data_dir, server, api_key_file, ca_file, keys=not without_keys)
        manifest = source.save(target)
        _tell(output, _told_of_backup(file, manifest, target), _backup_in_words)


def _check_choice(passphrase_file: Path | None, *, plain: bool, without_keys: bool) -> None:
    from chronos.errors import Invalid

    if passphrase_file is not None and plain:
        raise Invalid("--plain and --passphrase-file exclude each other.")
    if passphrase_file is None and not plain and not without_keys:
        raise Invalid(
            "A backup holds the keys that open every credential. Give --passphrase-file FILE to encrypt it, --plain to "
            "write it as it is, or --without-keys to leave them out."
        )


class _Source:
    """Where the data is: in a folder that nobody uses, or with a server that does."""

    def __init__(
        self, data_dir: Path, server: str | None, api_key_file: Path | None, ca_file: Path | None, *, keys: bool
    ) -> None:
        self._data_dir = data_dir
        self._server = server
        self._api_key_file = api_key_file
        self._ca_file = ca_file
        self._keys = keys

    def save(self, target: Target) -> Manifest:
        from chronos.errors import DataFolderInUse
        from chronos.server.backup.saving import save_stopped
        from chronos.timing.clock import SystemClock

        if self._server is None:
            try:
                return asyncio.run(save_stopped(self._data_dir, target, keys=self._keys, clock=SystemClock()))
            except DataFolderInUse:
                pass  # its server runs, and is asked
        return self._ask(target)

    def _ask(self, target: Target) -> Manifest:
        from chronos.cli.chronosctl.session import Session
        from chronos.client import operations as ops
        from chronos.errors import NotFound, Unavailable
        from chronos.server.backup.saving import save_running

        is_here = (self._data_dir / "keys").is_dir()
        if self._keys and not is_here:
            raise NotFound(f"There are no keys in {self._data_dir}: name the data folder, or take --without-keys.")
        session = Session(
            flag_server=self._server,
            flag_api_key_file=str(self._api_key_file) if self._api_key_file else None,
            flag_data_dir=str(self._data_dir) if is_here and not self._api_key_file else None,
            flag_ca_file=str(self._ca_file) if self._ca_file else None,
        )
        try:
            return save_running(
                session.client.pieces(ops.take_backup()), target, keys_from=self._data_dir if self._keys else None
            )
        except Unavailable as exc:
            if self._server is None:
                exc.args = (f"{exc} {self._data_dir} is in use; give the address of its server with --server.",)
            raise
        finally:
            session.close()


@click.command()
@click.argument("file", type=_FILE)
@click.option(
    "--data-dir",
    default="data",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Must not be there, or empty.",
)
@click.option(
    "--as-of", metavar="INSTANT", help="2027-01-01T09:00:00Z, or 2h (ago). [default: everything that is in the backup]"
)
@click.option("--base", type=_FILE, help="An older backup to begin from, for an instant before FILE's own state.")
@_passphrase
@click.option(
    "--dry-run", is_flag=True, help="Do all of it beside the folder, tell what came of it, and leave nothing."
)
@_output
def restore(
    file: Path,
    data_dir: Path,
    as_of: str | None,
    base: Path | None,
    passphrase_file: Path | None,
    dry_run: bool,
    output: str,
) -> None:
    """Make a data folder out of a backup.

    Everything is checked first; the folder appears at once, or not at all. What is due since counts as missed,
    and each job's missed_run_policy decides when the server starts. Executions keep their ids, and fencing
    tokens go on higher than any before.

    \b
    Examples:
      chronos restore chronos.backup --data-dir /var/lib/chronos --passphrase-file backup.pass
      chronos restore chronos.backup --data-dir there --dry-run
      chronos restore chronos.backup --data-dir there --as-of 2027-01-01T09:00:00Z
    """
    from chronos.cli.chronosctl.keyfile import read_passphrase
    from chronos.cli.chronosctl.progress import bytes_told
    from chronos.cli.chronosctl.when import parse_instant
    from chronos.server.backup.restoring import Wanted
    from chronos.server.backup.restoring import restore as bring_back
    from chronos.timing.clock import SystemChance, SystemClock

    with _errors():
        clock = SystemClock()
        at = None if as_of is None else int(parse_instant(as_of, clock, option="--as-of").timestamp() * 1e6)
        wanted = Wanted(
            backup=file,
            folder=data_dir,
            passphrase=read_passphrase(passphrase_file),
            base=base,
            as_of_us=at,
            dry_run=dry_run,
        )
        report = asyncio.run(bring_back(wanted, clock, SystemChance(), bytes_told("read")))
        _tell(output, _plain(report), _restore_in_words)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn an error into its line and its exit code."""
    import os

    from chronos import failpoints
    from chronos.cli.chronosctl.exits import code_of, line_of
    from chronos.errors import ChronosError

    failpoints.switch_on(os.environ)
    os.umask(0o077)
    try:
        yield
    except ChronosError as exc:
        if sys.stderr.isatty():
            click.echo("\r\033[K", nl=False, err=True)
        click.echo(f"chronos: {line_of(exc)}", err=True)
        sys.exit(code_of(exc))


def _tell(output: str, plain: dict[str, Any], words: Callable[[dict[str, Any]], str]) -> None:
    from chronos.cli.chronosctl.output import as_json

    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    click.echo(as_json(plain) if output == "json" else words(plain))


def _plain(value: object) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(value)
    return found


def _told_of_backup(file: Path, manifest: Manifest, target: Target) -> dict[str, Any]:
    from chronos.timing.clock import utc

    def stamp(us: int) -> str:
        return utc(us // 1_000_000).strftime("%Y-%m-%dT%H:%M:%SZ")

    return {
        "file": str(file),
        "bytes": target.bytes,
        "encrypted": target.encrypts,
        "keys": manifest.keys,
        "taken_at": stamp(manifest.taken_us),
        "version": manifest.version,
        "node": manifest.node,
        "jobs": manifest.jobs,
        "first_entry": manifest.first,
        "last_entry": manifest.last,
        "reaches_back_to": stamp(manifest.first_us if manifest.first == 1 else manifest.state_us),
        "files": len(manifest.files),
    }


def _backup_in_words(told: dict[str, Any]) -> str:
    from chronos.cli.chronosctl.progress import size_of

    kind = "encrypted" if told["encrypted"] else "not encrypted"
    keys = "with its keys" if told["keys"] else "WITHOUT keys: sealed credentials cannot be opened from it"
    return (
        f"{told['file']}: {told['jobs']} jobs, log up to entry {told['last_entry']}, {size_of(told['bytes'])}, "
        f"{kind}, {keys}\n"
        f"it can be restored as of {told['reaches_back_to']} or later"
    )


def _restore_in_words(told: dict[str, Any]) -> str:
    begin = "would be restored" if told["dry_run"] else "restored"
    stands = f"{told['open_executions']} executions open, restore epoch {told['restore_epoch']}"
    lines = [f"{begin} into {told['folder']}: {told['jobs']} jobs as of {told['as_of']}, {stands}"]
    if told["entries_left_out"]:
        lines.append(f"{told['entries_left_out']} later entries of the log are left out")
    if told["missed"]:
        lines.append(f"{told['missed']} runs were missed since; {told['missed_will_run']} of them run when it starts")
    if not told["keys"]:
        lines.append("the backup has no keys: sealed credentials have to be written again")
    if not told["dry_run"]:
        lines.append(f"start it with `chronos server --data-dir {told['folder']}`")
    return "\n".join(lines)
