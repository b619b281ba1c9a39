"""`chronosctl whoami`."""

from __future__ import annotations

import click

from chronos.cli.chronosctl.lazy import leaf
from chronos.cli.chronosctl.output import emit, pairs
from chronos.cli.chronosctl.session import Session


@leaf()
@click.pass_obj
def whoami(session: Session) -> None:
    """Show whom the server takes you for, and what you may do."""
    from chronos.client import operations as ops

    plain = {"server": session.server, **session.fetch(ops.whoami())}
    rows = [
        ("Server", plain["server"]),
        ("Id", plain.get("id")),
        ("Name", plain.get("name")),
        ("Tenant", plain.get("tenant")),
        ("Permissions", " ".join(plain.get("permissions") or [])),
    ]
    emit(session, plain, lambda _: pairs(rows))
