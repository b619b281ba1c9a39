"""The same to many: one that is refused does not keep the others from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from chronos.cli.chronosctl.exits import code_of, line_of
from chronos.cli.chronosctl.output import say, visible
from chronos.cli.chronosctl.session import Session
from chronos.errors import ChronosError, Conflict, Invalid, NotFound


def each(session: Session, refs: Sequence[str], do: Callable[[str], tuple[Any, str]], done: str) -> None:
    """Do something to each, print what `do` returns (the answer, and a sentence), and tell what was refused.

    Args:
        done: What has become of those that were not refused, for the summary: "redriven".

    Raises:
        click.exceptions.Exit: Something was refused; with the exit code of the first refusal.
        ChronosError: There is one only, and it was refused; or nobody can be asked any more.
    """
    refused: list[ChronosError] = []
    for ref in refs:
        try:
            answer, sentence = do(ref)
        except (Invalid, NotFound, Conflict) as exc:
            if len(refs) == 1:
                raise
            refused.append(exc)
            session.note(f"refused {visible(ref)}: {line_of(exc)}")
        except ChronosError:
            session.note(f"{refs.index(ref) - len(refused)} of {len(refs)} {done}; the rest was not tried")
            raise
        else:
            say(session, answer, sentence)
    if refused:
        session.note(f"{len(refs) - len(refused)} of {len(refs)} {done}, {len(refused)} refused")
        raise click.exceptions.Exit(code_of(refused[0]))
