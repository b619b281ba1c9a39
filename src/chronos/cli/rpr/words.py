"""The words of a command line: which are global, which are flags, which are the command's.

    rpr [GLOBAL] SUBCOMMAND [FLAGS] -- COMMAND [ARGUMENTS]

Flags are brought into one form, `--name=value`, so that whatever reads them next knows a single one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from chronos.cli.rpr.flags import BY_SPELLING, FLAGS, Flag, Kind
from chronos.cli.rpr.near import did_you_mean
from chronos.cli.rpr.subcommands import BY_NAME, PLUGIN, Subcommand
from chronos.errors import Invalid

HELP = ("--help", "-h")
VERSION = ("--version", "-v")


class Line(NamedTuple):
    """A command line, taken apart.

    Attributes:
        flags: In one form each, in the order they were typed: `--every=30s`, `--quiet`.
        argv: The command to repeat; empty when there is none.
        asks: `version` or `help`, when that is all that is wanted.
        plugin: The one that `rpr plugin` names; its options are in `options`.
    """

    subcommand: Subcommand | None = None
    flags: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    asks: str = ""
    plugin: str = ""
    options: tuple[tuple[str, str], ...] = ()


def take_apart(words: Sequence[str]) -> Line:
    """Return the parts of a command line without looking at what the values mean.

    Raises:
        Invalid: A word has no meaning where it stands; the message says what to type instead.
    """
    rest = list(words)
    before: list[str] = []
    while rest and rest[0].startswith("-") and rest[0] != "--":
        word = rest.pop(0)
        if word in HELP or word in VERSION:
            return Line(asks="help" if word in HELP else "version")
        before.append(_config(word, rest))
    if not rest or rest[0] == "--":
        raise Invalid("subcommand required, for example `rpr interval --every 30s -- date`; `rpr --help` lists them.")
    subcommand = _subcommand(rest.pop(0))
    typed, argv = _split(rest)
    if subcommand is PLUGIN:
        return _plugin(before, typed, argv)
    flags = tuple(_flags(typed, subcommand))
    return Line(subcommand, (*before, *flags), argv, "help" if "--help" in flags else "")


def _plugin(before: list[str], typed: list[str], argv: tuple[str, ...]) -> Line:
    from chronos.cli.rpr.pluginwords import plugin_words

    words = plugin_words(typed)
    flags = tuple(_flags(list(words.rest), PLUGIN))
    asks = "help" if "--help" in flags else ""
    if not words.name and not asks:
        raise Invalid("`rpr plugin` needs the name of a plug-in; `rpr plugins list` lists those there are.")
    return Line(PLUGIN, (*before, *flags), argv, asks, words.name, words.options)


def _config(word: str, rest: list[str]) -> str:
    name, equals, value = word.partition("=")
    if name != "--config":
        hint = f" `{name}` goes behind the subcommand." if name in BY_SPELLING else ""
        raise Invalid(f"unknown global flag `{word}`; there are --help, --version and --config FILE.{hint}")
    if not equals and (not rest or rest[0] == "--"):
        raise Invalid("`--config` needs a value: --config FILE.")
    return f"--config={value if equals else rest.pop(0)}"


def _subcommand(word: str) -> Subcommand:
    if word in BY_NAME:
        return BY_NAME[word]
    raise Invalid(f"unknown subcommand `{word}`.{did_you_mean(word, BY_NAME)} `rpr --help` lists them.")


def _split(words: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return what stands before the first `--`, and the command behind it."""
    if "--" not in words:
        return words, ()
    at = words.index("--")
    return words[:at], tuple(words[at + 1 :])


def _flags(words: list[str], subcommand: Subcommand) -> Iterator[str]:
    rest = list(words)
    while rest:
        word = rest.pop(0)
        for flag, value in _read(word, subcommand):
            if flag.modes and subcommand.name not in flag.modes:
                where = ", ".join(flag.modes)
                raise Invalid(f"`--{flag.name}` does nothing in `rpr {subcommand.name}`; it belongs to: {where}.")
            yield _one_form(flag, value, rest)


def _one_form(flag: Flag, value: str | None, rest: list[str]) -> str:
    if flag.kind is Kind.SWITCH:
        if value is not None:
            raise Invalid(f"`--{flag.name}` takes no value; leave `={value}` out.")
        return f"--{flag.name}"
    if value is None and not rest:
        raise Invalid(f"`--{flag.name}` needs a value: --{flag.name} {flag.takes}.")
    return f"--{flag.name}={value if value is not None else rest.pop(0)}"


def _read(word: str, subcommand: Subcommand) -> list[tuple[Flag, str | None]]:
    """Return the flags of one word with the values that are in it: `-e30s`, `--every=30s`, `-qm`."""
    if word in BY_SPELLING:
        return [(BY_SPELLING[word], None)]
    name, equals, value = word.partition("=")
    if equals and name in BY_SPELLING:
        return [(BY_SPELLING[name], value)]
    if word.startswith("-") and not word.startswith("--"):
        if compact := _compact(word):
            return [compact]
        if switches := _bundle(word):
            return [(flag, None) for flag in switches]
    raise Invalid(_unknown(word, subcommand))


def _compact(word: str) -> tuple[Flag, str] | None:
    """Return flag and value of `-e30s`; the longest spelling wins, so that `-bd1s` is no `-b`."""
    fits = [short for flag in FLAGS for short in flag.short if word.startswith(short) and not short.startswith("--")]
    with_value = [short for short in fits if BY_SPELLING[short].kind is not Kind.SWITCH]
    if not with_value:
        return None
    short = max(with_value, key=len)
    return BY_SPELLING[short], word[len(short) :]


def _bundle(word: str) -> list[Flag]:
    """Return the switches of `-qm`; none when one of them is something else."""
    found = [BY_SPELLING.get(f"-{letter}") for letter in word[1:]]
    return [flag for flag in found if flag and flag.kind is Kind.SWITCH] if all(found) else []


def _unknown(word: str, subcommand: Subcommand) -> str:
    if not word.startswith("-"):
        return f"unknown flag `{word}`; put `--` before the command: rpr {subcommand.name} … -- {word} …"
    name = word.partition("=")[0]
    known = [f"--{flag.name}" for flag in FLAGS if not flag.modes or subcommand.name in flag.modes]
    return f"unknown flag `{name}`.{did_you_mean(name, known)} `rpr {subcommand.name} --help` lists them."
