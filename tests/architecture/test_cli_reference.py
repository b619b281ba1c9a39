"""The pages of the commands are written from the commands: `make reference` writes them, this test compares them."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator

import click
import pytest
from tests.architecture.source import ROOT

from chronos.cli.chronosctl.root import PROGRAM, cli
from chronos.cli.rpr.config import KEYS
from chronos.cli.rpr.flags import FLAGS
from chronos.cli.rpr.help import EXITS
from chronos.cli.rpr.subcommands import SUBCOMMANDS
from chronos.cli.server import explain_offline
from chronos.cli.server import main as chronos

REFERENCE = ROOT / "docs" / "reference"

CHRONOS_HEAD = """\
# The commands of `chronos`

`chronos` is the server, and what is done where its data lies: backing up, restoring, verifying, repairing. What is
asked of a server that runs is [`chronosctl`](cli.md).

Errors are one line on stderr; the [exit codes](exit-codes.md) say what kind of error it was.

Written from the commands themselves by `make reference`.
"""

HEAD = """\
# Command line

`chronos server` starts a node; its flags are in the [configuration](configuration.md#flags), and the other commands of
`chronos` on [a page of their own](chronos.md). `chronosctl` speaks with a node.

A job is named by its name, its id, or a unique beginning of either. Output is a table; `-o json` and `-o yaml` are for
programs. Colours appear on a terminal only. Errors are one line on stderr, and the [exit code](exit-codes.md) says what
kind of error it was.

The server is the first of: `--server`, `CHRONOS_SERVER`, the context, `http://127.0.0.1:8080`. The key is the first of:
`--api-key-file`, `--data-dir` (the admin key of a server on this machine), `CHRONOS_API_KEY`, the context.

Written from the commands themselves by `make reference`.
"""


def commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield every command below `group`, depth first, in the order of its help."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        yield inner.command_path, command, inner
        if isinstance(command, click.Group):
            yield from commands(command, inner)


def common() -> set[str]:
    """Return the names of the options that every command takes."""
    return {parameter.name or "" for parameter in cli.params}


def options(command: click.Command, context: click.Context, leave_out: set[str]) -> list[str]:
    rows = []
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name not in leave_out and not parameter.hidden:
            record = parameter.get_help_record(context)
            assert record is not None
            rows.append(f"| `{cell(record[0])}` | {cell(record[1])} |")
    return ["", "| option | |", "|---|---|", *rows] if rows else []


def cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", r"\|").strip()


def prose(command: click.Command) -> tuple[str, str]:
    """Return a command's help as a paragraph, and its examples."""
    words, _, examples = inspect.cleandoc(command.help or "").replace("\f", "").partition("\b\nExamples:")
    return re.sub(r"\n(?!\n)", " ", words.strip()).replace("\n ", "\n\n"), inspect.cleandoc(examples)


def chronosctl_page() -> str:
    """Return the page as the commands say it now."""
    root = click.Context(cli, info_name=PROGRAM)
    parts = [HEAD, "## Options of every command", *options(cli, root, set()), ""]
    return "\n".join(parts + described(commands(cli, root), common())).rstrip() + "\n"


def chronos_page() -> str:
    """Return the other page as the commands say it now."""
    return "\n".join([CHRONOS_HEAD, *described(of_chronos(), set())]).rstrip() + "\n"


def of_chronos() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield the commands of `chronos`, and beside `explain` what it is with its flag."""
    for path, command, context in commands(chronos, click.Context(chronos, info_name="chronos")):
        yield path, command, context
        if command.name == "explain":
            yield f"{path} --offline", explain_offline, click.Context(explain_offline, info_name=path)


RPR_HEAD = """\
# The command line of `rpr`

`rpr` repeats a command: at an interval, on a schedule, or until it works. What the modes compute is in
[their own reference](rpr-modes.md).

```text
rpr [--config FILE] MODE [FLAGS] -- COMMAND [ARGUMENTS]
```

The command is run as it stands, without a shell, in a session of its own; what it leaves behind in its process group is
ended with it. Flags may be written `--every 30s`, `--every=30s`, `-e 30s` or `-e30s`; the last one of a name wins.

Written from the command itself by `make reference`.
"""


RPR_CONFIGURATION = """\
## Configuration

What is typed wins over the environment, which wins over the file, which wins over the defaults. The file is TOML: the
one that `--config` or `RPR_CONFIG_FILE` names, else `rpr/config.toml` in `$XDG_CONFIG_HOME` or `~/.config` if it is
there. Durations are text. A key that is not known is refused. Levels: `error` says nothing while it runs, `debug` also
what HTTP answers asked for.
"""


def rpr_page() -> str:
    """Return the page of `rpr` as it is now."""
    parts = [RPR_HEAD, "## Modes", "", "| mode | also | needs | |", "|---|---|---|---|"]
    for each in SUBCOMMANDS:
        needs = ", ".join(f"`--{name.replace('_', '-')}`" for name in each.required)
        parts.append(
            f"| `{each.name}` | {', '.join(f'`{name}`' for name in each.aliases)} | {needs} | {each.summary} |"
        )
    for group in dict.fromkeys(flag.group for flag in FLAGS):
        parts += ["", f"## {group}", "", "| flag | belongs to | |", "|---|---|---|"]
        for flag in [flag for flag in FLAGS if flag.group == group]:
            spelled = cell(f"{', '.join(flag.spellings)} {flag.takes}")
            parts.append(f"| `{spelled}` | {', '.join(flag.modes) or 'every mode'} | {cell(flag.help)} |")
    parts += ["", RPR_CONFIGURATION, "| key | environment | default | |", "|---|---|---|---|"]
    parts += [f"| `{key.name}` | `{key.env}` | {key.default} | {key.help} |" for key in KEYS]
    parts += ["", "## Exit codes", "", "| code | |", "|---|---|", *(f"| {code} | {text} |" for code, text in EXITS)]
    return "\n".join(parts) + "\n"


def described(found: Iterator[tuple[str, click.Command, click.Context]], leave_out: set[str]) -> list[str]:
    """Return the lines on commands, without the options `leave_out`."""
    parts: list[str] = []
    for path, command, context in found:
        words, examples = prose(command)
        if isinstance(command, click.Group):
            parts += [f"## {path}", "", words, ""]
            continue
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        level = "##" if path.count(" ") == 1 else "###"
        parts += [f"{level} {path}", "", "```text", usage, "```", "", words]
        parts += ["", "```sh", examples, "```"] if examples else []
        parts += [*options(command, context, leave_out), ""]
    return parts


@pytest.mark.parametrize(
    ("name", "written"), [("cli.md", chronosctl_page), ("chronos.md", chronos_page), ("rpr.md", rpr_page)]
)
def test_the_command_line_is_described_as_it_is(name: str, written: Callable[[], str]) -> None:
    page = REFERENCE / name
    if os.environ.get("CHRONOS_WRITE_REFERENCE"):
        page.write_text(written())
    assert page.is_file()
    assert page.read_text() == written(), "the commands have changed: run `make reference`"


def test_every_command_says_what_it_does() -> None:
    root = click.Context(cli, info_name=PROGRAM)
    assert [path for path, command, _ in [*commands(cli, root), *of_chronos()] if not prose(command)[0]] == []
