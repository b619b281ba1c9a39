"""`chronos`: the command that is the server."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from chronos import __version__
from chronos.cli.backup import backup, restore
from chronos.cli.cluster import cluster
from chronos.cli.configured import config_file as _file
from chronos.cli.configured import load_config
from chronos.cli.doctor import doctor
from chronos.cli.export import export
from chronos.cli.health import health
from chronos.cli.printing import ended, is_of_echo, let_go_of_output, lost
from chronos.cli.service.commands import service
from chronos.cli.verify import verify

PROGRAM = "chronos"
OFFLINE = "--offline"


class _Program(click.Group):
    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except SystemExit as end:
            sys.exit(ended(int(end.code or 0), PROGRAM))
        except OSError as exc:
            if not is_of_echo(exc):
                raise
            sys.exit(ended(lost(exc, PROGRAM), PROGRAM))


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
def main() -> None:
    """Chronos fires jobs when they are due, and can prove afterwards what happened."""


@main.command()
@click.option("--config", "config_file", envvar="CHRONOS_CONFIG", type=click.Path(path_type=Path), help="YAML file.")
@click.option("--data-dir", help="Where everything is kept. [default: ./data]")
@click.option("--http-address", help="host:port to listen on; port 0 takes a free one. [default: 127.0.0.1:8080]")
@click.option("--node-id", help="This node's name. [default: chronos-1]")
@click.option("--log-level", type=click.Choice(["debug", "info", "warn", "error"]), help="[default: info]")
@click.option("--demo", is_flag=True, help="Add an echo target and three jobs that call it.")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without authentication.")
def server(
    config_file: Path | None,
    data_dir: str | None,
    http_address: str | None,
    node_id: str | None,
    log_level: str | None,
    demo: bool,
    insecure: bool,
) -> None:
    """Run one node until it is told to stop.

    Without `--config`, `chronos.yaml` in the current folder is read if it is there. When the node takes
    requests, one line on stdout says `ready http://HOST:PORT`.
    """
    flags = {
        "cluster.data_dir": data_dir,
        "server.http.address": http_address,
        "cluster.node_id": node_id,
        "logging.level": log_level,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    sys.exit(_run(_file(config_file), given, demo=demo, insecure=insecure))


@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def explain(arguments: tuple[str, ...]) -> None:
    """Say why a job ran at an instant, or why it did not.

    The same as `chronosctl explain`; with `--offline` from the data folder of a server that is down.
    """
    from chronos.cli.chronosctl.root import run

    if OFFLINE in arguments:
        explain_offline.main([each for each in arguments if each != OFFLINE], prog_name=f"chronos explain {OFFLINE}")
    sys.exit(run(["explain", *arguments]))


@main.command()
@click.option("--output", type=click.Path(path_type=Path), help="Write here instead of to stdout.")
def openapi(output: Path | None) -> None:
    """Write the API's description (OpenAPI 3.1) as YAML."""
    from chronos.server.openapi import to_yaml
    from chronos.server.outline import outline

    text = to_yaml(outline())
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text)


@main.command()
@click.option("--config", "config_file", envvar="CHRONOS_CONFIG", type=click.Path(path_type=Path), help="YAML file.")
def check(config_file: Path | None) -> None:
    """Say whether the configuration can be used, without starting anything."""
    config = load_config(_file(config_file), {}, os.environ)
    for note in config.notes:
        click.echo(f"note: {note}")
    click.echo("the configuration is valid")


@main.command()
@click.option("--data-dir", default="data", show_default=True, type=click.Path(path_type=Path), help="What to repair.")
@click.option("--truncate-at", type=click.IntRange(min=0), metavar="INDEX", help="Cut the log off after this entry.")
@click.option("--rebuild-state", is_flag=True, help="Fold state and history anew from the log, at the next start.")
def recover(data_dir: Path, truncate_at: int | None, rebuild_state: bool) -> None:
    """Go on with a data folder that is damaged, when there is no backup that is better.

    Without options, says how log and state stand and changes nothing. Nothing is deleted: what is replaced
    stays beside what replaces it.
    """
    from chronos.errors import ChronosError, FormatUnreadable, Invalid, NotFound

    try:
        if rebuild_state:
            _rebuild_state(data_dir)
        if truncate_at is not None:
            _cut_log(data_dir, truncate_at)
        if truncate_at is None and not rebuild_state:
            _tell_damage(data_dir)
    except ChronosError as exc:
        click.echo(f"chronos: {exc}", err=True)
        sys.exit(2 if isinstance(exc, NotFound | Invalid) else 65 if isinstance(exc, FormatUnreadable) else 75)


@click.command()
@click.argument("job")
@click.option(
    "--at", default="", metavar="INSTANT", help="RFC 3339, or a wall time in the job's zone. [default: its last]"
)
@click.option("--config", "config_file", envvar="CHRONOS_CONFIG", type=click.Path(path_type=Path), help="YAML file.")
@click.option("--data-dir", help="Of the server that is down. [default: ./data]")
@click.option("--namespace", default="default", show_default=True)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def explain_offline(
    job: str, at: str, config_file: Path | None, data_dir: str | None, namespace: str, output: str
) -> None:
    """Say why a job ran at an instant, or why not, while its server is down.

    A server that runs is asked with `chronosctl explain`.
    """
    from chronos.cli.chronosctl.commands.explain import as_text
    from chronos.cli.chronosctl.output import as_json
    from chronos.errors import ChronosError, DataFolderInUse, FormatUnreadable, Invalid, NotFound
    from chronos.server.asking import ask

    config = load_config(_file(config_file), {"cluster.data_dir": data_dir} if data_dir else {}, os.environ)
    _be_quiet()
    question = {"path": {"job": job}, "query": {"at": at}}
    try:
        answer = asyncio.run(ask(config, "explain_job", namespace=namespace, **question))
    except ChronosError as exc:
        hint = " Ask it with `chronosctl explain`." if isinstance(exc, DataFolderInUse) else ""
        click.echo(f"chronos: {exc}{hint}", err=True)
        sys.exit(2 if isinstance(exc, NotFound | Invalid) else 65 if isinstance(exc, FormatUnreadable) else 75)
    click.echo(as_json(answer) if output == "json" else as_text(answer))


main.add_command(cluster)
main.add_command(doctor)
main.add_command(export)
main.add_command(health)
main.add_command(service)
main.add_command(verify)


def _be_quiet() -> None:
    """Let nothing but the answer be printed: what opening a folder logs is for servers."""
    import structlog
    from structlog.typing import FilteringBoundLogger

    silent: type[FilteringBoundLogger] = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=silent)


def _rebuild_state(data_dir: Path) -> None:
    from chronos.server import recovery

    aside = recovery.rebuild_state(data_dir)
    click.echo(f"state and history were moved to {aside}; the next start folds them anew")


def _cut_log(data_dir: Path, truncate_at: int) -> None:
    from chronos.server import recovery
    from chronos.timing.clock import SystemClock

    fork = recovery.cut_log(data_dir, truncate_at, SystemClock())
    if fork.goes_on_at > fork.last_good + 1:
        click.echo(f"state has folded up to entry {fork.goes_on_at - 1}; the log goes on behind it")
    else:
        click.echo(f"the log ends at entry {fork.last_good}; {fork.lost_to - fork.last_good} entries are cut off")
    click.echo(f"the damaged log is kept as log.db.damaged-{truncate_at}, and the cut is recorded in the new one")


def _tell_damage(data_dir: Path) -> None:
    from chronos.server import recovery

    found = recovery.look(data_dir)
    click.echo(f"the log's first entry is {found.first}, the last that verifies is {found.last_good}")
    click.echo(f"state has folded up to entry {found.applied}")


def _run(file: Path | None, flags: dict[str, str], *, demo: bool, insecure: bool) -> int:
    from chronos.server.garbage import THRESHOLDS
    from chronos.server.lifecycle import serve
    from chronos.server.logs import set_up
    from chronos.server.loops import loop_factory
    from chronos.server.supervisor import from_environ

    config = load_config(file, flags, os.environ)
    set_up(config.settings.logging)
    _warn_of_failpoints()

    def announce(line: str) -> None:
        try:
            click.echo(line)
        except OSError:  # a node that works does not end, nor end badly, because nobody can read that it does
            let_go_of_output()

    gc.set_threshold(*THRESHOLDS)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        supervisor = from_environ(os.environ, os.getpid())
        return runner.run(serve(config, with_demo=demo, insecure=insecure, announce=announce, supervisor=supervisor))


def _warn_of_failpoints() -> None:
    import structlog

    from chronos import failpoints

    warning = failpoints.switch_on(os.environ)
    if warning:
        structlog.get_logger("chronos.server").warning("failpoints", reason=warning)


main.add_command(backup)
main.add_command(restore)

if __name__ == "__main__":
    main()
