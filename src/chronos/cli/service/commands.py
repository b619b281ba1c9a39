"""`chronos service install | uninstall | status`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from chronos.cli.chronosctl.exits import code_of
from chronos.cli.configured import load_config
from chronos.cli.service import launchd, systemd
from chronos.cli.service.doing import ROOT, CommandFailed, Machine, ask
from chronos.cli.service.plan import WRITTEN_BY, Action, Installation, RemoveFile, State, WriteFile
from chronos.errors import ChronosError, Conflict, Denied, Invalid, Unavailable

FAILED, NOT_THERE = 1, 4
SERVICE_USER = "chronos"
# What the service does not see: its own /tmp lies over the machine's, and nobody but root looks into /root.
UNSEEN = (Path("/tmp"), Path("/var/tmp"), Path("/root"))  # noqa: S108  # refused, not used

_OUTPUT = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print it.")
_PERSONAL = click.option("--user", "is_personal", is_flag=True, help="For your own session, without being root.")
_DRY = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
# For tests: files go below it, and no command is run.
_ROOT = click.option("--root", default=ROOT, hidden=True, type=click.Path(path_type=Path))
_PROGRAM = click.option("--program", hidden=True, type=click.Path(path_type=Path))
_MANAGER = click.option(
    "--manager",
    type=click.Choice(["systemd", "launchd"]),
    default="launchd" if sys.platform == "darwin" else "systemd",
    hidden=True,
)


@click.group()
def service() -> None:
    """Run the server as a service of this machine: systemd on Linux, launchd on macOS."""


@service.command()
@click.option("--config", "config", type=click.Path(path_type=Path), help="YAML file for the server.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Where everything is kept. [default: /var/lib/chronos]"
)
@click.option("--run-as", metavar="USER", help="Whom it runs as. [default: chronos, who is made if not there]")
@_PERSONAL
@_DRY
@_OUTPUT
@_ROOT
@_MANAGER
@_PROGRAM
def install(
    config: Path | None,
    data_dir: Path | None,
    run_as: str | None,
    is_personal: bool,
    dry_run: bool,
    output: str,
    root: Path,
    manager: str,
    program: Path | None,
) -> None:
    """Install the server as a service, and start it. Installing again changes what has changed.

    \b
    Examples:
      sudo chronos service install --config /etc/chronos/chronos.yaml
      chronos service install --user --dry-run
    """
    with _told():
        machine = Machine(root)
        wanted = _wanted(program, config, data_dir, run_as, is_personal=is_personal, manager=manager)
        path = _path(manager, is_personal)
        found = machine.read(path)
        _check_ours(path, found)
        if manager == "launchd":
            actions = launchd.to_install(wanted, found, uid=os.getuid())
        else:
            actions = systemd.to_install(wanted, found, user_exists=_user_exists(wanted.user))
        if not dry_run:
            _check_may(machine, is_personal=is_personal, manager=manager)
        _carry_out(machine, actions, dry_run=dry_run, output=output)
    if output == "table" and not dry_run:
        click.echo(f"the admin key is in {wanted.data_dir / 'admin.key'} once the server has started")


@service.command()
@_PERSONAL
@_DRY
@_OUTPUT
@_ROOT
@_MANAGER
def uninstall(is_personal: bool, dry_run: bool, output: str, root: Path, manager: str) -> None:
    """Stop the service and take it away. Data, configuration and the service's user stay."""
    with _told():
        machine = Machine(root)
        path = _path(manager, is_personal)
        found = machine.read(path)
        _check_ours(path, found)
        home = Path.home()
        if found is None:
            actions: list[Action] = []
        elif manager == "launchd":
            actions = launchd.to_uninstall(is_personal=is_personal, home=home, uid=os.getuid())
        else:
            actions = systemd.to_uninstall(is_personal=is_personal, home=home)
        if actions and not dry_run:
            _check_may(machine, is_personal=is_personal, manager=manager)
        _carry_out(machine, actions, dry_run=dry_run, output=output)


@service.command()
@_PERSONAL
@_OUTPUT
@_ROOT
@_MANAGER
def status(is_personal: bool, output: str, root: Path, manager: str) -> None:
    """Say whether the service is installed and runs. Exit code 0 when it does, 1 when not, 4 when not installed."""
    with _told():
        state = _state(Machine(root), is_personal=is_personal, manager=manager)
    if output == "json":
        import msgspec

        click.echo(msgspec.json.encode({**msgspec.structs.asdict(state), "file": str(state.file)}).decode())
    elif not state.is_installed:
        click.echo(f"not installed: there is no {state.file}")
    else:
        by_itself = "starts by itself" if state.is_enabled else "does not start by itself"
        click.echo(f"{state.file}: {'runs' if state.is_running else 'does not run'} ({state.says}), {by_itself}")
    sys.exit(0 if state.is_running else FAILED if state.is_installed else NOT_THERE)


@contextmanager
def _told() -> Iterator[None]:
    """Turn an error into one line and an exit code."""
    try:
        yield
    except (ChronosError, CommandFailed) as exc:
        click.echo(f"chronos: {exc}", err=True)
        sys.exit(code_of(exc) if isinstance(exc, ChronosError) else FAILED)


def _wanted(
    program: Path | None,
    config: Path | None,
    data_dir: Path | None,
    run_as: str | None,
    *,
    is_personal: bool,
    manager: str,
) -> Installation:
    """Return the service that is asked for.

    Raises:
        Invalid: It could not run.
    """
    from chronos.timing.duration import parse_duration

    if run_as and is_personal:
        raise Invalid("`--run-as` is for a service of the machine; with `--user` it runs as you.")
    config = config.absolute() if config else None
    loaded = load_config(config, {}, {}).settings  # the service has an environment of its own
    told = loaded.cluster.data_dir
    default = _default_data_dir(is_personal=is_personal, manager=manager)
    wanted = Installation(
        program=program or _program(),
        config=config,
        data_dir=(data_dir or (default if str(told) in (".", "data", "./data") else Path(told))).absolute(),
        home=Path.home(),
        user="" if is_personal else run_as or _default_user(manager),
        is_personal=is_personal,
        drain_s=parse_duration(loaded.server.drain) / 1e6,
        port=int(loaded.server.http.address.rpartition(":")[2]),
    )
    if run_as and not _user_exists(run_as):
        raise Invalid(f"There is no user {run_as} on this machine; make that user first, or leave `--run-as` out.")
    if not is_personal:
        _check_seen(wanted)
    return wanted


def _program() -> Path:
    program = Path(sys.executable).with_name("chronos")
    if not program.exists():
        raise Invalid(f"There is no {program}: install Chronos into the environment of {sys.executable} first.")
    return program


def _default_user(manager: str) -> str:
    if manager == "launchd":
        raise Invalid("On macOS name the user it is to run as: `--run-as USER`; or install it for yourself: `--user`.")
    return SERVICE_USER


def _default_data_dir(*, is_personal: bool, manager: str) -> Path:
    if manager == "launchd":
        return Path.home() / "Library/Application Support/chronos" if is_personal else Path("/var/db/chronos")
    if is_personal:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "chronos"
    return systemd.STATE_DIR


def _check_seen(wanted: Installation) -> None:
    for path in (wanted.program, wanted.config, wanted.data_dir):
        for unseen in UNSEEN:
            if path is not None and path.is_relative_to(unseen):
                raise Invalid(f"{path} cannot be used by a service of the machine: it does not see {unseen}. Move it.")


def _user_exists(name: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _path(manager: str, is_personal: bool) -> Path:
    path = launchd.plist_path if manager == "launchd" else systemd.unit_path
    return path(is_personal=is_personal, home=Path.home())


def _check_ours(path: Path, found: bytes | None) -> None:
    if found is not None and WRITTEN_BY.encode() not in found:
        raise Conflict(f"{path} was not written by `{WRITTEN_BY}`, and is left alone. Remove it first.")


def _check_may(machine: Machine, *, is_personal: bool, manager: str) -> None:
    """See whether this can work at all, before anything is changed.

    Raises:
        Denied: Only root may.
        Unavailable: There is no such service manager here.
    """
    if not machine.is_real:
        return
    if manager == "systemd" and not Path("/run/systemd/system").is_dir():
        raise Unavailable(
            "systemd does not run on this machine. Let whatever supervises programs here run `chronos server`, "
            "or run it in a container."
        )
    if not is_personal and os.geteuid() != 0:
        raise Denied("A service of the machine is installed by root: run it with sudo, or add --user.")
    if is_personal and manager == "systemd":
        code, said = ask(["systemctl", "--user", "show-environment"])
        if code != 0:
            raise Unavailable(f"Your session has no systemd of its own: {said}. Log in as yourself, without `su`.")


def _carry_out(machine: Machine, actions: Sequence[Action], *, dry_run: bool, output: str) -> None:
    rows = []
    for action in actions:
        was_done = False if dry_run else machine.do(action)
        rows.append({"what": action.words(), "done": was_done})
        if output == "table":
            click.echo(f"{'done' if was_done else 'would'}: {action.words()}")
            if dry_run and isinstance(action, WriteFile):
                click.echo("\n".join("    " + line for line in action.data.decode().splitlines()))
    if output == "json":
        import msgspec

        files = {str(one.path): one.data.decode() for one in actions if isinstance(one, WriteFile)}
        click.echo(msgspec.json.encode({"dry_run": dry_run, "actions": rows, "files": files}).decode())
    elif not actions:
        click.echo("nothing to do: it is not installed")
    elif any(isinstance(action, RemoveFile) for action in actions) and not dry_run:
        click.echo("data, configuration and the service's user are left as they are")


def _state(machine: Machine, *, is_personal: bool, manager: str) -> State:
    path = _path(manager, is_personal)
    if machine.read(path) is None:
        return State(file=path, is_installed=False)
    if not machine.is_real:
        return State(file=path, is_installed=True, says="not asked")
    if manager == "launchd":
        code, _ = ask(launchd.asking(is_personal=is_personal, uid=os.getuid()))
        return State(file=path, is_installed=True, is_enabled=True, is_running=code == 0, says=f"launchctl: {code}")
    enabled, active = (ask(argv) for argv in systemd.asking(is_personal=is_personal))
    return State(
        file=path, is_installed=True, is_enabled=enabled[0] == 0, is_running=active[0] == 0, says=active[1] or "unknown"
    )
