"""What can be said against a process target when its job is written."""

from __future__ import annotations

import re

from chronos.dispatch.template import check_template
from chronos.errors import JobInvalid
from chronos.model.target import ProcessTarget

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
OWN_PREFIX = "CHRONOS_"

# These decide which code a program runs; a job's author decides that with `argv`.
_LOADER = re.compile(r"LD_.*|DYLD_.*")


def check_process_target(target: ProcessTarget, field: str = "target") -> None:
    """Check everything about a target that does not depend on the machine it runs on.

    Raises:
        JobInvalid: With `field` naming what is wrong, like `target.argv[0]`.
    """
    at = f"{field}." if field else ""
    for n, argument in enumerate(target.argv):
        check_template(argument, f"{at}argv[{n}]")
        _no_nul(argument, f"{at}argv[{n}]")
    _check_program(target.argv[0], f"{at}argv[0]")
    check_template(target.stdin, f"{at}stdin")
    for name, value in target.env.items():
        _check_name(name, f"{at}env.{name}")
        _no_nul(value, f"{at}env.{name}")
    for n, name in enumerate(target.env_allow):
        _check_name(name, f"{at}env_allow[{n}]")
    if target.directory is not None:
        _no_nul(target.directory, f"{at}directory")
        if not target.directory.startswith("/"):
            raise JobInvalid(f"{at}directory must be an absolute path", field=f"{at}directory")
    if target.run_as is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*\$?", target.run_as):
        raise JobInvalid(f"{at}run_as is not the name of a system user", field=f"{at}run_as")


def _check_program(program: str, field: str) -> None:
    if "/" in program and not program.startswith("/"):
        raise JobInvalid(f"{field} must be a name that is found on PATH, or an absolute path", field=field)
    if program.startswith("-"):
        raise JobInvalid(f"{field} must be a program, not an option", field=field)


def _check_name(name: str, field: str) -> None:
    if not ENV_NAME.fullmatch(name):
        raise JobInvalid(f"{field} is not the name of an environment variable", field=field)
    if name.startswith(OWN_PREFIX) or _LOADER.fullmatch(name):
        raise JobInvalid(f"{field} may not be set by a job", field=field)


def _no_nul(text: str, field: str) -> None:
    if "\0" in text:
        raise JobInvalid(f"{field} contains a NUL character", field=field)
