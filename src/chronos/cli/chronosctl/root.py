"""The root of the command tree, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from chronos import __version__
from chronos.cli.chronosctl.exits import INTERRUPTED, MEANINGS, OK, USAGE, code_of, line_of
from chronos.cli.chronosctl.lazy import Lazy, LazyGroup, common_options
from chronos.cli.chronosctl.session import Session
from chronos.cli.printing import ended, is_of_echo, lost
from chronos.errors import ChronosError

PROGRAM = "chronosctl"

COMMANDS = {
    "job": Lazy("job:job", "Create, change, run, import and export jobs."),
    "execution": Lazy("execution:execution", "See what ran, what did not and why; cancel, replay, watch."),
    "export": Lazy("export:export", "Write all of the past to a file that can be verified."),
    "explain": Lazy("explain:explain", "Say why a job ran at an instant, or why it did not."),
    "schedule": Lazy("schedule:schedule", "Ask what a schedule means; needs no server."),
    "calendar": Lazy("calendar:calendar", "Days on which jobs do not run."),
    "webhook": Lazy("webhook:webhook", "Try a target before a job uses it."),
    "notify": Lazy("notify:notify", "Who is told when a job fails, and whether word gets through."),
    "key": Lazy("key:key", "API keys."),
    "top": Lazy("top:top", "Watch what the server is doing, live."),
    "cluster": Lazy("cluster:cluster", "How the cluster is."),
    "clock": Lazy("clock:clock", "The server's clock: see, accept, reset."),
    "context": Lazy("context:context", "Names for servers, kept in the configuration file."),
    "whoami": Lazy("whoami:whoami", "Whom the server takes you for."),
    "doctor": Lazy("doctor:doctor", "Find what is wrong here, and what to do about it."),
    "completion": Lazy("completion:completion", "Print the completion script of a shell."),
    "man": Lazy("man:man", "Write the manual pages into a folder."),
}

EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in MEANINGS.items())


@click.group(
    PROGRAM,
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Speak with a Chronos server.

    \b
    Examples:
      chronosctl job create hello --schedule '@every 30s' --url http://127.0.0.1:9000/
      chronosctl execution list hello
      chronosctl schedule next '0 9 * * MON-FRI' --timezone Europe/Paris
    """
    ctx.ensure_object(Session)


cli.params.extend(common_options())


def main() -> None:
    """Run the command line of this process and leave with its exit code."""
    if "_CHRONOSCTL_COMPLETE" in os.environ:
        cli.main(prog_name=PROGRAM)
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str], session: Session | None = None) -> int:
    """Run one command line and return its exit code; what went wrong is one line on stderr."""
    return ended(_run(list(args), session or Session()), PROGRAM)


def _run(args: list[str], session: Session) -> int:
    try:
        return _invoke(args, session)
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.ctx.get_help() if exc.ctx else str(exc), err=True)
        return USAGE
    except click.ClickException as exc:
        return _refuse(_sentence(exc), USAGE)
    except ChronosError as exc:
        return _refuse(line_of(exc), code_of(exc))
    except (KeyboardInterrupt, click.Abort):
        return _refuse("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return OK  # the reader has left (`| head`)
    except OSError as exc:
        if not is_of_echo(exc):
            raise
        return lost(exc, PROGRAM)
    finally:
        session.close()


def _invoke(args: list[str], session: Session) -> int:
    try:
        with cli.make_context(PROGRAM, args, obj=session) as ctx:
            cli.invoke(ctx)
    except click.exceptions.Exit as end:
        return end.exit_code
    return OK


def _refuse(sentence: str, code: int) -> int:
    try:
        click.echo(f"{PROGRAM}: {sentence}", err=True)
    except OSError:
        pass  # there is nobody to tell
    return code


def _sentence(exc: click.ClickException) -> str:
    text = " ".join(exc.format_message().split())
    if isinstance(exc, click.UsageError) and exc.ctx is not None:
        return f"{text}{'' if text[-1:] in '.?' else '.'} Try `{exc.ctx.command_path} --help`."
    return text
