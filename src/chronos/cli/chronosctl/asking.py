"""Asking before something that cannot be undone."""

from __future__ import annotations

import sys

import click

from chronos.errors import Invalid


def confirm(question: str) -> None:
    """Return when somebody at the terminal says yes.

    Raises:
        click.Abort: They say no.
        Invalid: Nobody is there to ask.
    """
    if not sys.stdin.isatty():
        raise Invalid(f"{question} Nobody is here to ask; --yes says so.")
    click.confirm(question, abort=True, err=True)
