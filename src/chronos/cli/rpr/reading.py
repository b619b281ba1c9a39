"""From words to values: durations, counts and choices, each refused with its flag and what to write instead."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from chronos.cli.rpr.flags import Flag, Kind, of
from chronos.errors import DurationInvalid, Invalid
from chronos.timing.duration import SECOND_US, parse_duration

COUNT_MAX = 2**53
Values = dict[str, Any]


def read_flags(subcommand: str, flags: Sequence[str]) -> Values:
    """Return flag → value for what was typed: seconds for durations, True for switches. The last one of a name wins.

    Raises:
        Invalid: A value is not of its flag's kind.
    """
    return vars(_parser(subcommand, flags).parse_args(list(flags)))


class _Parser(argparse.ArgumentParser):
    """Raises instead of leaving: there is one place that prints errors."""

    def error(self, message: str) -> NoReturn:
        # "argument --every: …" is how argparse says where; the flag alone is enough.
        raise Invalid(message.removeprefix("argument "))


def _parser(subcommand: str, flags: Sequence[str]) -> argparse.ArgumentParser:
    """Return what reads these flags of `subcommand`; it knows no others, because making it costs time for each."""
    made = _Parser(
        prog=f"rpr {subcommand}",
        add_help=False,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        # Not asked for: it would look for the terminal's width each time.
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=80),
    )
    typed = {flag.partition("=")[0] for flag in flags}
    for flag in (each for each in of(subcommand) if f"--{each.name}" in typed):
        if flag.kind is Kind.SWITCH:
            made.add_argument(f"--{flag.name}", dest=flag.dest, action="store_true")
        else:
            made.add_argument(f"--{flag.name}", dest=flag.dest, type=converter(flag))
    return made


def converter(flag: Flag) -> Callable[[str], Any]:
    """Return what turns the text behind `flag` into its value; it raises `argparse.ArgumentTypeError`."""
    if flag.choices:
        return lambda text: _choice(text, flag)
    return {Kind.DURATION: duration_s, Kind.COUNT: count, Kind.NUMBER: number}.get(flag.kind, str)


def duration_s(text: str) -> float:
    """Return seconds."""
    try:
        return parse_duration(text) / SECOND_US
    except DurationInvalid as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def count(text: str) -> int:
    try:
        found = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number, for example 3.") from None
    if abs(found) > COUNT_MAX:
        raise argparse.ArgumentTypeError(f"`{text}` is too large.")
    return found


def number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise argparse.ArgumentTypeError(f"`{text}` is not a number, for example 2.5.")
    return found


def _choice(text: str, flag: Flag) -> str:
    if text not in flag.choices:
        raise argparse.ArgumentTypeError(f"`{text}` is not one of: {', '.join(flag.choices)}.")
    return text
