"""The words behind `rpr plugin`: a name, options that only the plug-in knows, and flags of `rpr` among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chronos.cli.rpr.flags import BY_SPELLING, Kind

Options = tuple[tuple[str, str], ...]


class PluginWords(NamedTuple):
    """What stands before the `--`.

    Attributes:
        name: The plug-in's; empty when none was typed.
        options: Name without dashes → text, in order.
        rest: The flags of `rpr`, as they were typed.
    """

    name: str
    options: Options
    rest: tuple[str, ...]


def plugin_words(words: Sequence[str]) -> PluginWords:
    """Return the words of a plug-in apart from those of `rpr`.

    What is no flag of every mode is an option of the plug-in, `--name=value` or `--name value`; alone it is `true`.
    """
    left = list(words)
    name = left.pop(0) if left and not left[0].startswith("-") else ""
    options: list[tuple[str, str]] = []
    rest: list[str] = []
    while left:
        word = left.pop(0)
        spelled, equals, value = word.partition("=")
        flag = BY_SPELLING.get(spelled)
        if word.startswith("--") and (flag is None or flag.modes):
            if not equals:
                value = left.pop(0) if left and not left[0].startswith("--") else "true"
            options.append((spelled[2:], value))
            continue
        rest.append(word)
        if flag and flag.kind is not Kind.SWITCH and not equals and left:
            rest.append(left.pop(0))
    return PluginWords(name, tuple(options), tuple(rest))


def named(text: str) -> list[tuple[str, dict[str, str]]]:
    """Return the plug-ins of `a,b:key=value,key=value`, each with its options."""
    found: list[tuple[str, dict[str, str]]] = []
    for part in text.split(",") if text else ():
        before, equals, _ = part.partition("=")
        name, colon, option = part.partition(":")
        if equals and ":" not in before and found:
            option = part
        else:
            found.append((name.strip(), {}))
            option = option if colon else ""
        if option:
            key, _, value = option.partition("=")
            found[-1][1][key.strip()] = value
    return found
