"""References to secrets, `${secret:env:NAME}`: how they are written, and who resolves them."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from chronos.errors import Unprocessable
from chronos.model.target import Target

# `${env:…}` and `${file:…}` are the older way to write it.
_REFERENCE = re.compile(r"\$\{(?:secret:([a-z][a-z0-9_-]{0,31})|(env|file)):([^{}]{1,512})\}")


class SecretUnavailable(Unprocessable):
    """A secret that is referred to cannot be used."""


class Reference(NamedTuple):
    """Where a secret is kept, and under which name there."""

    source: str
    name: str

    def __str__(self) -> str:
        return f"${{secret:{self.source}:{self.name}}}"


class SecretResolver(Protocol):
    """Puts secrets in the place of references, at the last moment."""

    async def resolve_target(self, target: Target) -> tuple[Target, frozenset[str]]:
        """Return `target` with every reference replaced, and the secrets that are in it now.

        Secrets are escaped for where they stand: inside a JSON body, inside a URL.

        Raises:
            SecretUnavailable: One cannot be used; the message names the reference and never the value.
        """
        ...

    async def resolve_text(self, text: str) -> tuple[str, frozenset[str]]:
        """Return `text` with every reference replaced as it is, and the secrets that are in it now.

        Raises:
            SecretUnavailable: As `resolve_target`.
        """
        ...


def references_in(text: str) -> list[Reference]:
    """Return the references in `text`, in order."""
    return [_reference(match) for match in _REFERENCE.finditer(text)] if "${" in text else []


def replace_references(text: str, values: dict[Reference, str]) -> str:
    """Return `text` with each reference replaced by its value; values are not looked at again."""
    return _REFERENCE.sub(lambda match: values[_reference(match)], text)


def blank_references(text: str, filler: str) -> str:
    """Return `text` with `filler` in every reference's place, for checks of what surrounds it."""
    return _REFERENCE.sub(filler, text)


def _reference(match: re.Match[str]) -> Reference:
    return Reference(match[1] or match[2], match[3])
