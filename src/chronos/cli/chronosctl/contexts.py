"""Contexts: names for servers, kept in `~/.config/chronos/config.yaml` (0600)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from chronos.cli.chronosctl.keyfile import check_private
from chronos.cli.chronosctl.yamlfile import dump_yaml, load_yaml
from chronos.errors import Invalid, NotFound


class Context(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A server, and who to be there.

    Attributes:
        data_dir: The server's data folder on this machine, whose admin key is used.
    """

    server: str | None = None
    namespace: str | None = None
    api_key: str | None = None
    api_key_file: str | None = None
    data_dir: str | None = None
    ca_file: str | None = None


class Contexts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The configuration file."""

    current: str | None = None
    contexts: dict[str, Context] = field(default_factory=dict)


def load(path: Path) -> Contexts:
    """Return the contexts in a file.

    Raises:
        Invalid: Others may read it, it is not YAML, or it has keys that mean nothing.
    """
    check_private(path)
    documents = load_yaml(path.read_text("utf-8"), str(path))
    try:
        return msgspec.convert(documents[0] if documents and documents[0] else {}, Contexts)
    except msgspec.ValidationError as exc:
        raise Invalid(f"{path}: {exc}") from exc


def save(path: Path, contexts: Contexts) -> None:
    """Write the contexts so that nobody else may read them, and so that a crash leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    plain: Any = msgspec.to_builtins(contexts)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(dump_yaml(plain))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def pick(contexts: Contexts, name: str | None, path: Path) -> Context:
    """Return the context called `name`, or the current one, or an empty one when none is current.

    Raises:
        NotFound: There is no context of that name.
    """
    wanted = name or contexts.current
    if wanted is None:
        return Context()
    if wanted not in contexts.contexts:
        known = ", ".join(sorted(contexts.contexts)) or "none"
        raise NotFound(f"There is no context `{wanted}` in {path} (there are: {known}).")
    return contexts.contexts[wanted]
