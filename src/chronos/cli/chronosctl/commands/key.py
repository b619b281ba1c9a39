"""`chronosctl key`: API keys."""

from __future__ import annotations

from typing import Any

import click

from chronos.cli.chronosctl.lazy import Lazy, LazyGroup, leaf
from chronos.cli.chronosctl.output import emit, local_time, say, table
from chronos.cli.chronosctl.session import Session


@click.group(
    cls=LazyGroup,
    lazy={
        "create": Lazy("key:create", "Make a key; it is shown once."),
        "list": Lazy("key:list_keys", "Show keys, without the keys themselves."),
        "revoke": Lazy("key:revoke", "Make keys useless, at once."),
    },
)
def key() -> None:
    """API keys."""


@leaf()
@click.argument("name")
@click.option(
    "--permission", "permissions", multiple=True, metavar="WHAT", help="Like job:read, job:* or *; repeatable (viewer)."
)
@click.option("--expires", metavar="INSTANT", help="2027-12-31, or +90d (a year).")
@click.pass_obj
def create(session: Session, name: str, permissions: tuple[str, ...], expires: str | None) -> None:
    """Make a key. It goes to stdout and is never shown again.

    \b
    Examples:
      (umask 077; chronosctl key create ci --permission 'job:*' > ci.key)
    """
    from chronos.cli.chronosctl.when import parse_instant
    from chronos.client import operations as ops

    end = parse_instant(expires, session.clock, option="--expires") if expires else None
    answer = session.fetch(ops.create_api_key(name, permissions=permissions, expires_at=end))
    if session.output == "table":
        session.note(f"created key {answer['name']} ({answer['id']}), valid until {local_time(answer['expires_at'])}")
    say(session, answer, str(answer["key"]))


@leaf("list")
@click.pass_obj
def list_keys(session: Session) -> None:
    """Show keys, without the keys themselves."""
    from chronos.cli.chronosctl.pages import rows_of
    from chronos.client import operations as ops

    emit(session, rows_of(session.fetch(ops.api_keys()), "api_keys"), _keys_table)


@leaf()
@click.argument("refs", metavar="KEY-ID…", nargs=-1, required=True)
@click.pass_obj
def revoke(session: Session, refs: tuple[str, ...]) -> None:
    """Make keys useless, at once."""
    from chronos.client import operations as ops

    for ref in refs:
        answer = session.fetch(ops.revoke_api_key(ref))
        say(session, answer, f"revoked {answer.get('name', '')} ({answer.get('id', ref)})")


def _keys_table(found: list[Any]) -> str:
    if not found:
        return "There are no keys."
    rows = [
        (
            item.get("id"),
            item.get("name"),
            " ".join(item.get("permissions") or []),
            local_time(item.get("created_at")),
            local_time(item.get("expires_at")),
            local_time(item.get("last_used_at")),
        )
        for item in found
    ]
    return table(("ID", "NAME", "PERMISSIONS", "CREATED", "EXPIRES", "LAST USED"), rows)
