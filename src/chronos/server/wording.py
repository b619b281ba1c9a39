"""What the decoder says of a wrong value, in words a person can act on. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from msgspec import inspect

from chronos.model.limits import NAME_PATTERN, NAMESPACE_PATTERN

_KINDS = {
    "array": "a list",
    "bool": "`true` or `false`",
    "float": "a number",
    "int": "a whole number",
    "null": "null",
    "object": "an object",
    "str": "text",
}
# A pattern is a sentence for machines; these are the same for people.
_PATTERNS = {
    NAME_PATTERN: "letters, digits, spaces, `.`, `_` and `-`, beginning with a letter or a digit, at most 200",
    NAMESPACE_PATTERN: "lower-case letters, digits and dashes, neither first nor last a dash, at most 63",
    r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$": "letters, digits and `!#$%&'*+.^_|~-`, without spaces or colons",
    r"^(\*|[a-z][a-z-]{0,31}:(\*|[a-z][a-z-]{0,31}))$": "a permission like `job:read`, `job:*` or `*`",
}
_EXPECTED = re.compile(r"^Expected `(?P<wanted>[^`]*)`, got `(?P<given>[^`]*)`$")
_BOUND = re.compile(r"^Expected `(?:int|float)(?: \| null)?` (?P<sign>[<>]=?) (?P<bound>\S+)$")
_LENGTH = re.compile(r"^Expected `(?P<kind>str|array|object)(?: \| null)?` of length (?P<sign>[<>]=) (?P<bound>\d+)$")
_PATTERN = re.compile(r"^Expected `str(?: \| null)?` matching regex (?P<quoted>.*)$", re.DOTALL)
_ENUM = re.compile(r"^Invalid (?:enum )?value '?(?P<given>.*?)'?$", re.DOTALL)
_SIGNS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_UNITS = {"str": "characters", "array": "entries", "object": "entries"}
_STEP = re.compile(r"\.|\[(?:\d+|\.\.\.)\]")


def in_words(what: str, path: str, of: Any) -> str:
    """Return what is wrong, to be read behind the field's name: `has to be at least 1`.

    Args:
        what: The decoder's sentence, without the place.
        path: The place, like `retry_policy.max_attempts`; empty for the whole.
        of: The type that was decoded into.
    """
    if match := _EXPECTED.match(what):
        return f"has to be {_kinds(match['wanted'])}, and is {_kinds(match['given'])}"
    if match := _BOUND.match(what):
        return f"has to be {_SIGNS[match['sign']]} {match['bound']}"
    if match := _LENGTH.match(what):
        return f"has to have {_SIGNS[match['sign']]} {match['bound']} {_UNITS[match['kind']]}"
    if match := _PATTERN.match(what):
        return f"has to be {_pattern(match['quoted'])}"
    if match := _ENUM.match(what):
        return _choice(match["given"], allowed(of, path))
    if "RFC3339" in what or "timezone component" in what:
        return "has to be an instant with its offset, like `2027-01-01T09:00:00Z` or `2027-01-01T09:00:00+01:00`"
    return f"is wrong: {what}"


def allowed(of: Any, path: str) -> list[str]:
    """Return the words that may stand at `path` in the type `of`; none where it is not one of a few words."""
    found = [inspect.type_info(of)]
    for name in filter(None, _STEP.split(path)):
        # The last step may be the field by which a union tells its members apart.
        tags = [
            str(info.tag) for info in _flat(found) if isinstance(info, inspect.StructType) and info.tag_field == name
        ]
        if tags:
            return tags
        found = [
            field.type
            for info in _flat(found)
            if isinstance(info, inspect.StructType)
            for field in info.fields
            if field.encode_name == name
        ]
    words: list[str] = []
    for info in _flat(found):
        if isinstance(info, inspect.EnumType):
            words += [str(member.value) for member in info.cls]
        elif isinstance(info, inspect.LiteralType):
            words += [str(value) for value in info.values]
    return words


def _flat(infos: list[Any]) -> Iterator[Any]:
    """Yield what the types are made of: members of unions, items of lists."""
    for info in infos:
        if isinstance(info, inspect.UnionType):
            yield from _flat(list(info.types))
        elif isinstance(info, inspect.ListType):
            yield from _flat([info.item_type])
        elif isinstance(info, inspect.Metadata):
            yield from _flat([info.type])
        else:
            yield info


def _choice(given: str, words: list[str]) -> str:
    if not words:
        return f"is `{given[:100]}`, which is not allowed here"
    near = get_close_matches(given.lower(), [word.lower() for word in words], n=1)
    hint = f" Did you mean `{next(word for word in words if word.lower() == near[0])}`?" if near else ""
    return f"is `{given[:100]}`; it has to be one of {', '.join(f'`{word}`' for word in words)}.{hint}"


def _kinds(names: str) -> str:
    return " or ".join(_KINDS.get(name, f"`{name}`") for name in names.split(" | "))


def _pattern(quoted: str) -> str:
    # The decoder prints the pattern as Python would.
    text = quoted[1:-1].replace("\\\\", "\\").replace("\\'", "'")
    return _PATTERNS.get(text, f"of the form `{text}`")
