"""The help, for somebody tired: what it does, what it needs, and a line that works."""

from __future__ import annotations

from chronos.cli.rpr.flags import FLAGS, of
from chronos.cli.rpr.subcommands import PLUGIN, SUBCOMMANDS, Subcommand

EXITS = (
    (0, "Every run succeeded; for modes that retry, the last one did; what was waited for has come."),
    (1, "At least one run failed, or what was waited for has not come."),
    (2, "The command line or the configuration is wrong; nothing was run."),
    (130, "Interrupted by SIGINT (Ctrl-C) or SIGTERM."),
    (141, "Nobody reads the output any more."),
)
WIDTH = 28
GROUPS = list(dict.fromkeys(flag.group for flag in FLAGS))

HEAD = """\
rpr repeats a command: at an interval, on a schedule, or until it works.

USAGE
  rpr [--config FILE] MODE [FLAGS] -- COMMAND [ARGUMENTS]

EXAMPLES
  rpr interval --every 30s -- curl -s http://localhost/health
  rpr count --times 5 -- make test
  rpr duration --for 10m --every 5s -- date
"""

TAIL = """\
The command is run as it stands, without a shell; for pipes write: -- sh -c 'a | b'
Flags are written --every 30s, --every=30s, -e 30s or -e30s. Durations: 500ms, 30s, 1h30m, 2d.
`rpr MODE --help` lists the flags of a mode.
"""


def overview() -> str:
    """Return what `rpr --help` prints."""
    modes = [_row(", ".join((each.name, *each.aliases)), each.summary, 40) for each in (*SUBCOMMANDS, PLUGIN)]
    exits = [_row(str(code), meaning, 5) for code, meaning in EXITS]
    return "\n".join([HEAD, "MODES", *modes, "", "EXIT CODES", *exits, "", TAIL])


def page(subcommand: Subcommand) -> str:
    """Return what `rpr MODE --help` prints."""
    names = " | ".join((subcommand.name, *subcommand.aliases))
    needed = " ".join(f"--{name.replace('_', '-')} {_takes(subcommand, name)}" for name in subcommand.required)
    if subcommand is PLUGIN:
        needed = "NAME [--OPTION VALUE]…"
    lines = [f"rpr {subcommand.name}: {subcommand.summary}", "", "USAGE"]
    lines += [f"  rpr {subcommand.name} {needed} [FLAGS] -- COMMAND [ARGUMENTS]", f"  also: {names}", "", "EXAMPLE"]
    lines += [f"  {subcommand.example}"]
    group = ""
    for flag in sorted(of(subcommand.name), key=lambda each: GROUPS.index(each.group)):
        lines += ["", flag.group.upper()] if flag.group != group else []
        group = flag.group
        lines.append(_row(f"{', '.join(flag.spellings)} {flag.takes}".rstrip(), flag.help, WIDTH))
    return "\n".join(lines) + "\n"


def _takes(subcommand: Subcommand, dest: str) -> str:
    return next(flag.takes for flag in of(subcommand.name) if flag.dest == dest)


def _row(left: str, right: str, width: int) -> str:
    return f"  {left:<{width}} {right}" if len(left) <= width else f"  {left}\n  {'':<{width}} {right}"
