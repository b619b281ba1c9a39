"""Crontabs as jobs: what cron would have run, Chronos runs as processes. Pure.

The rules are those of crontab(5) as Debian's cron and cronie have them: settings hold from their line on,
the first bare `%` of a command begins its standard input, `\\%` is a percent sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chronos.errors import ChronosError
from chronos.model.limits import NAMESPACE_PATTERN
from chronos.timing.schedule import parse_schedule

Document = dict[str, Any]

SHELL = "/bin/sh"
PATH = "/usr/bin:/bin"
NAME_CHARS_MAX = 60
COMMAND_CHARS_MAX = 8_192

_SETTING = re.compile(r"""\s*(?P<name>"[^"]*"|'[^']*'|[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*?)\s*$""")
_FIELDS = re.compile(r"\s*-?(?P<when>@\S+|(?:\S+\s+){4}\S+)\s+(?P<rest>.+?)\s*$")
_USER = re.compile(r"(?P<user>\S+)\s+(?P<command>.+)$")
# A backslash and what it hides are read together, so that `\\\\%` is a backslash and then a bare percent.
_PROGRAM = re.compile(r"(?:[^\\%]|\\.|\\$)*", re.DOTALL)
_PAIR = re.compile(r"\\.", re.DOTALL)
_INPUT_PERCENT = re.compile(r"\\?%")
_RANDOM = re.compile(r"^(?P<low>\d*)~(?P<high>\d*)$")
_MACROS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_ENDS = {0: (0, 59), 1: (0, 23), 2: (1, 31), 3: (1, 12), 4: (0, 6)}
# Words before the program that say how it is run, not what it is.
_WRAPPERS = frozenset(
    {"cd", "env", "exec", "flock", "ionice", "nice", "nohup", "sudo", "test", "time", "timeout", "[", "chronic"}
)


class Remark(NamedTuple):
    """Something to tell about a line."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


@dataclass
class Crontab:
    """What was read.

    Attributes:
        jobs: Job documents, in the order of the lines.
        notes: What is different from cron, or worth knowing.
        refused: Lines that cannot become jobs, and why.
    """

    jobs: list[Document] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)
    refused: list[Remark] = field(default_factory=list)


@dataclass
class _Settings:
    """What settings hold at a line."""

    zone: str
    shell: str = SHELL
    jitter: str = ""
    env: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})


class _Refused(Exception):
    """This line cannot become a job; the message says why."""


def parse_crontab(
    text: str, *, timezone: str, system: bool = False, run_as: str = "", namespace: str = "default"
) -> Crontab:
    """Return the jobs of a crontab.

    Args:
        timezone: The zone the crontab is read in until a `CRON_TZ` says otherwise.
        system: Whether the sixth field is a user, as in /etc/crontab and /etc/cron.d.
        run_as: Whose crontab it is, when no field says so; empty means the server's own user.
        namespace: Where the jobs go.
    """
    assert re.match(NAMESPACE_PATTERN, namespace)
    found = Crontab()
    settings = _Settings(timezone)
    names: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        setting = _SETTING.match(line)
        try:
            if setting:
                _set(settings, _unquoted(setting["name"]), _unquoted(setting["value"]), found.notes, number)
                continue
            job = _job_of(line, settings, None if system else run_as, found.notes, number)
        except _Refused as why:
            found.refused.append(Remark(number, str(why)))
            continue
        job["name"] = _free_name(_name_of(job["description"]), names)
        if namespace != "default":
            job["namespace"] = namespace
        found.jobs.append(job)
    return found


def _set(settings: _Settings, name: str, value: str, notes: list[Remark], number: int) -> None:
    if name == "CRON_TZ":
        settings.zone = value
    elif name in ("MAILTO", "MAILFROM"):
        notes.append(Remark(number, f"{name} is left out; `notify:` on a job tells somebody when it fails."))
    elif name == "SHELL":
        settings.shell = value or SHELL
    elif name == "RANDOM_DELAY":
        settings.jitter = f"{int(value)}m" if value.isdigit() and int(value) else ""
    else:
        settings.env[name] = value
        if name == "TZ":
            notes.append(Remark(number, "TZ is given to the commands; what sets the schedule's zone is CRON_TZ."))


def _job_of(line: str, settings: _Settings, owner: str | None, notes: list[Remark], number: int) -> Document:
    match = _FIELDS.match(line)
    if not match:
        raise _Refused("it has no five fields and a command.")
    user, command = (owner, match["rest"]) if owner is not None else _user_and_command(match["rest"])
    program, stdin = split_percent(command)
    if not program.strip():
        raise _Refused("there is no command.")
    if len(program) > COMMAND_CHARS_MAX:
        raise _Refused(f"the command is longer than {COMMAND_CHARS_MAX:,} characters.")
    if "{{" in program:
        notes.append(Remark(number, "the command has `{{`, which Chronos fills in as a template."))
    target: Document = {"type": "process", "argv": [settings.shell, "-c", program], "env": dict(settings.env)}
    if stdin:
        target["stdin"] = stdin
    if user:
        target["run_as"] = user
        target["env"] = {"LOGNAME": user, "USER": user, **target["env"]}
    if home := settings.env.get("HOME"):
        target["directory"] = home
    job: Document = {
        "name": "",
        "description": " ".join(program.split())[:2_000],
        "schedule": _schedule_of(match["when"], settings.zone, notes, number),
        "timezone": settings.zone,
        "target": target,
        # Cron starts a run whatever the last one does, never tries again, and forgets what it missed.
        "concurrency": "allow",
        "retry_policy": {"max_attempts": 1},
        "missed_run_policy": "ignore",
    }
    if settings.jitter:
        job["jitter"] = settings.jitter
    return job


def _user_and_command(rest: str) -> tuple[str, str]:
    match = _USER.match(rest)
    if not match:
        raise _Refused("there is no command behind the user.")
    return match["user"].partition(":")[0], match["command"]


def split_percent(command: str) -> tuple[str, str]:
    r"""Return program and standard input of a crontab's command.

    The first bare `%` ends the program; each further one is a line end; `\%` is a percent sign. Input
    ends with a line end, as cron sees to it.
    """
    head = _PROGRAM.match(command)
    assert head is not None, "the pattern matches nothing, too"
    program = _PAIR.sub(_unescaped, head[0])
    stdin = _INPUT_PERCENT.sub(lambda found: "%" if found[0] == "\\%" else "\n", command[head.end() + 1 :])
    return program, stdin if not stdin or stdin.endswith("\n") else stdin + "\n"


def _unescaped(pair: re.Match[str]) -> str:
    return "%" if pair[0] == "\\%" else pair[0]


def _schedule_of(when: str, zone: str, notes: list[Remark], number: int) -> str:
    schedule = " ".join(when.split())
    if schedule.startswith("@"):
        schedule = schedule.lower()
        if schedule == "@reboot":
            raise _Refused("@reboot has no instant to run at; a cluster does not start. Use the machine's init system.")
        if schedule not in _MACROS:
            raise _Refused(f"cron knows no `{schedule}`; there are {', '.join(sorted(_MACROS))}.")
    else:
        hashed = " ".join(_hashed(field, place) for place, field in enumerate(schedule.split()))
        if hashed != schedule:
            notes.append(Remark(number, f"random times become the job's own: `{schedule}` is `{hashed}`."))
        schedule = hashed
    try:
        parse_schedule(schedule, timezone=zone, hash_key="x")
    except ChronosError as exc:
        raise _Refused(str(exc)) from exc
    return schedule


def _hashed(text: str, place: int) -> str:
    match = _RANDOM.match(text)
    if not match:
        return text
    low, high = _ENDS[place]
    return f"H({match['low'] or low}-{match['high'] or high})"


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _name_of(command: str) -> str:
    """Return a name for a command: its program's file name, without what is only about how it runs."""
    words = [word for word in _words(command) if "=" not in word.partition("/")[0] and not word.startswith("-")]
    useful = [word for word in words if word.rpartition("/")[2] not in _WRAPPERS and not word.isdigit()]
    base = (useful or words or ["job"])[0].rpartition("/")[2]
    slug = re.sub(r"[^a-z0-9]+", "-", base.lower()).strip("-")[:NAME_CHARS_MAX].strip("-")
    return slug or "job"


def _words(command: str) -> Iterator[str]:
    # `cd /srv && ./run`: what is changed into is not what runs.
    body = re.sub(r"^\s*cd\s+\S+\s*(&&|;)\s*", "", command)
    yield from re.split(r"[\s;&|()<>]+", body.strip())[:20]


def _free_name(wanted: str, taken: set[str]) -> str:
    name, n = wanted, 1
    while name in taken:
        n += 1
        name = f"{wanted}-{n}"
    taken.add(name)
    return name
