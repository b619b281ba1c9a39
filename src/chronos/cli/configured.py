"""The configuration, for commands: an error in it is one line on stderr and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from chronos.server.config import Config

CONFIG_FILES = ("chronos.yaml", "chronos.yml")
USAGE = 2


def load_config(file: Path | None, flags: dict[str, str], environ: Mapping[str, str]) -> Config:
    """Return the configuration; ends the process when it cannot be used."""
    from chronos.errors import ConfigInvalid
    from chronos.server import manifest
    from chronos.server.config import load

    try:
        return load(file, environ=environ, flags=flags, feature_types=manifest.sections())
    except ConfigInvalid as exc:
        click.echo(f"chronos: {exc}", err=True)
        sys.exit(USAGE)


def config_file(given: Path | None) -> Path | None:
    """Return the file that is to be read: the given one, or that of the current folder."""
    if given is not None:
        return given
    return next((path for name in CONFIG_FILES if (path := Path(name)).is_file()), None)
