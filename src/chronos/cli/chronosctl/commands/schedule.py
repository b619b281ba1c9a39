"""`chronosctl schedule`: what a schedule means. The same function as the server's, so that it needs none."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from chronos.cli.chronosctl.lazy import Lazy, LazyGroup, leaf
from chronos.cli.chronosctl.output import emit, say
from chronos.cli.chronosctl.session import Session

if TYPE_CHECKING:
    from chronos.timing.schedule import Schedule

_zone = click.option("--timezone", "--tz", "timezone", default="UTC", show_default=True, metavar="ZONE")
_gap = click.option("--gap", type=click.Choice(["after", "skip"]), default="after", help="Wall times left out.")
_overlap = click.option(
    "--overlap", type=click.Choice(["first", "second", "both"]), default="first", help="Wall times that happen twice."
)
_hash_key = click.option("--job", "hash_key", default="", metavar="NAMESPACE/NAME", help="Whose `H` is meant.")
_since = click.option("--since", default="now", show_default=True, metavar="INSTANT", help="Look from here on.")


@click.group(
    cls=LazyGroup,
    lazy={
        "next": Lazy("schedule:next_runs", "Show the next runs of a schedule."),
        "validate": Lazy("schedule:validate", "Say whether a schedule is one."),
        "explain": Lazy("schedule:explain", "Say in words what a schedule means, and what clock changes do to it."),
    },
)
def schedule() -> None:
    """Ask what a schedule means. Needs no server."""


@leaf("next")
@click.argument("text", metavar="SCHEDULE")
@_zone
@_gap
@_overlap
@_hash_key
@_since
@click.option("-c", "--count", type=click.IntRange(1, 1_000), default=5, show_default=True)
@click.pass_obj
def next_runs(session: Session, /, text: str, since: str, count: int, **options: str) -> None:
    """Show the next runs of a schedule, in its zone and in UTC.

    \b
    Examples:
      chronosctl schedule next '30 2 * * *' --timezone America/New_York
      chronosctl schedule next '0 9 * * MON#1' -c 12 -o json
    """
    start = parse_since(session, since)
    found = _runs(_parse(text, options, start), start, count)
    emit(session, {"schedule": text, "timezone": options["timezone"], "next_runs": found}, _runs_table)


@leaf()
@click.argument("texts", metavar="SCHEDULE…", nargs=-1, required=True)
@_zone
@_gap
@_overlap
@_hash_key
@click.pass_obj
def validate(session: Session, /, texts: tuple[str, ...], **options: str) -> None:
    """Say whether a schedule is one; exit code 2 when it is not."""
    plain = [{"schedule": text, "valid": True, "description": _parse(text, options).describe()} for text in texts]
    say(session, plain[0] if len(plain) == 1 else plain, "\n".join(f"valid: {entry['description']}" for entry in plain))


@leaf()
@click.argument("text", metavar="SCHEDULE")
@_zone
@_gap
@_overlap
@_hash_key
@_since
@click.option("-c", "--count", type=click.IntRange(1, 1_000), default=5, show_default=True)
@click.pass_obj
def explain(session: Session, /, text: str, since: str, count: int, **options: str) -> None:
    """Say in words what a schedule means, when it runs next, and what the coming clock changes do to it.

    \b
    Examples:
      chronosctl schedule explain '30 2 * * *' --timezone America/New_York
    """
    start = parse_since(session, since)
    parsed = _parse(text, options, start)
    plain = {
        "schedule": text,
        "timezone": options["timezone"],
        "valid": True,
        "description": parsed.describe(),
        "next_runs": _runs(parsed, start, count),
        "dst_notes": _notes(parsed, start),
    }
    emit(session, plain, _explained)


def _parse(text: str, options: dict[str, str], start: datetime | None = None) -> Schedule:
    # A job counts `@every` from its creation; asked here, that would be now.
    from chronos.timing.schedule import parse_schedule

    return parse_schedule(
        text,
        timezone=options["timezone"],
        gap=options["gap"],
        overlap=options["overlap"],
        hash_key=options["hash_key"],
        anchor=int(start.timestamp()) if start else None,
    )


def parse_since(session: Session, since: str) -> datetime:
    """Return the instant that `--since` names."""
    from chronos.cli.chronosctl.when import parse_instant

    return parse_instant(since, session.clock, option="--since")


def _runs(parsed: Schedule, start: datetime, count: int) -> list[dict[str, str]]:
    from itertools import islice

    instants = islice(parsed.between(start, start + timedelta(days=366 * 50)), count)
    return [{"utc": _utc_text(instant), "local": _wall(parsed, instant)} for instant in instants]


def _notes(parsed: Schedule, start: datetime) -> list[dict[str, Any]]:
    return [
        {"at": _utc_text(note.at), "kind": note.kind, "affected": note.affected, "effect": note.effect}
        for note in parsed.notes(start)
    ]


def _utc_text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _wall(parsed: Schedule, instant: datetime) -> str:
    from chronos.timing.zone import zone

    offset_s = zone(parsed.timezone).offset_at(int(instant.timestamp()))
    sign, minutes = "-" if offset_s < 0 else "+", abs(offset_s) // 60
    wall = instant + timedelta(seconds=offset_s)
    return f"{wall:%a %Y-%m-%d %H:%M:%S} {sign}{minutes // 60:02}:{minutes % 60:02}"


def _runs_table(plain: dict[str, Any]) -> str:
    from chronos.cli.chronosctl.output import table

    if not plain["next_runs"]:
        return "It does not run again."
    rows = [(run["local"], run["utc"]) for run in plain["next_runs"]]
    return table((plain["timezone"].upper(), "UTC"), rows)


def _explained(plain: dict[str, Any]) -> str:
    parts = [plain["description"], "", _runs_table(plain)]
    if plain["dst_notes"]:
        parts += ["", "Clock changes ahead:"]
        parts += [f"  {note['at']}  {note['effect']}" for note in plain["dst_notes"]]
    return "\n".join(parts)
