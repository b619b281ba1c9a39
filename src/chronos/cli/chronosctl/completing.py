"""Names that the server knows, for the completion of the shell. Quick or silent: nobody waits for a tab key."""

from __future__ import annotations

from itertools import islice

import click

from chronos.cli.chronosctl.session import Session
from chronos.errors import ChronosError

NAMES_MAX = 100
PATIENCE_S = 1.0


def job_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of jobs that begin with `incomplete`; none when the server does not answer at once."""
    session = ctx.ensure_object(Session)
    try:
        with session.connect(tries_max=1, timeout_s=PATIENCE_S) as client:
            found = islice(client.iter_jobs(text=incomplete or None, limit=NAMES_MAX), NAMES_MAX)
            return [job.name for job in found if job.name.startswith(incomplete)]
    except ChronosError:
        return []
