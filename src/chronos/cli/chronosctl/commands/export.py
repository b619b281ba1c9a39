"""`chronosctl export`: all of the past as a file that can be verified."""

from __future__ import annotations

import click

from chronos.cli.chronosctl.lazy import leaf
from chronos.cli.chronosctl.session import Session


@leaf()
@click.option("--since", metavar="INSTANT", help="Due at or after: 2027-01-01, or 2h (ago).")
@click.option("--until", metavar="INSTANT", help="Due before.")
@click.option("--to", "file", metavar="FILE", default="-", show_default=True, help="A new file; - is standard output.")
@click.pass_obj
def export(session: Session, since: str | None, until: str | None, file: str) -> None:
    """Write all that is kept of the past, of all namespaces, as NDJSON.

    Executions, range records, versions of jobs, calendars, seals: enough to verify them without the server. What breaks
    off is picked up where it broke off. It needs the permission `history:export`, which administrators have.

    \b
    Examples:
      chronosctl export --to past.ndjson
      chronosctl export --since 2027-01-01 --to past.ndjson.gz
    """
    from chronos.cli.chronosctl.downloading import download
    from chronos.cli.chronosctl.when import parse_instant
    from chronos.client import operations as ops

    begin = parse_instant(since, session.clock, option="--since") if since else None
    end = parse_instant(until, session.clock, option="--until") if until else None
    records = download(session, lambda cursor: ops.export_history(since=begin, until=end, cursor=cursor), file)
    session.note(f"Exported {records} records.")
