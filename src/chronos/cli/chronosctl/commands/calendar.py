"""`chronosctl calendar`: the days on which jobs do not run."""

from __future__ import annotations

from typing import Any

import click

from chronos.cli.chronosctl.lazy import Lazy, LazyGroup, leaf
from chronos.cli.chronosctl.output import emit, local_time, say, table
from chronos.cli.chronosctl.session import Session
from chronos.errors import Invalid


@click.group(
    cls=LazyGroup,
    lazy={
        "list": Lazy("calendar:list_calendars", "Show calendars."),
        "get": Lazy("calendar:get", "Show one calendar."),
        "apply": Lazy("calendar:apply", "Create or replace a calendar from a file."),
        "delete": Lazy("calendar:delete", "Delete a calendar that no job uses."),
    },
)
def calendar() -> None:
    """Days on which jobs do not run. A job names one as its `calendar`."""


@leaf("list")
@click.pass_obj
def list_calendars(session: Session) -> None:
    """Show calendars."""
    from chronos.cli.chronosctl.pages import rows_of
    from chronos.client import operations as ops

    emit(session, rows_of(session.fetch(ops.calendars()), "calendars"), _calendars_table)


@leaf()
@click.argument("name")
@click.pass_obj
def get(session: Session, name: str) -> None:
    """Show one calendar."""
    from chronos.cli.chronosctl.yamlfile import dump_yaml
    from chronos.client import operations as ops

    emit(session, session.fetch(ops.calendar(name)), lambda plain: dump_yaml(plain).rstrip())


@leaf()
@click.argument("name", required=False)
@click.option("-f", "--file", "file", required=True, metavar="FILE", help="YAML, JSON or iCalendar; - is stdin.")
@click.pass_obj
def apply(session: Session, name: str | None, file: str) -> None:
    """Create or replace a calendar from a file. Jobs that name it are planned anew.

    The file has the calendar's rules, or `name` and `rules`; an .ics file is taken as dates to leave out.

    \b
    Examples:
      chronosctl calendar apply holidays -f holidays.yaml
      chronosctl calendar apply holidays -f holidays.ics
    """
    from chronos.client import operations as ops

    named, rules = read_calendar(file)
    target = name or named
    if not target:
        raise Invalid(f"{file} names no calendar; say which one: chronosctl calendar apply NAME -f {file}")
    answer = session.fetch(ops.put_calendar(target, rules))
    say(session, answer, f"applied calendar {target} (revision {answer.get('revision', '?')})")


@leaf()
@click.argument("name")
@click.pass_obj
def delete(session: Session, name: str) -> None:
    """Delete a calendar that no job uses."""
    from chronos.client import operations as ops

    say(session, session.fetch(ops.delete_calendar(name)), f"deleted calendar {name}")


def read_calendar(file: str) -> tuple[str | None, dict[str, Any]]:
    """Return the name (None when the file has none) and the rules of a calendar in a file.

    Raises:
        Invalid: There is not exactly one calendar in it.
    """
    from chronos.cli.chronosctl.jobfiles import read_text
    from chronos.cli.chronosctl.yamlfile import load_yaml

    text = read_text(file)
    if text.lstrip().startswith("BEGIN:VCALENDAR"):
        return None, {"ical": text}
    found = [document for document in load_yaml(text, file) if document is not None]
    if len(found) != 1 or not isinstance(found[0], dict):
        raise Invalid(f"{file} has to hold one calendar: a mapping of its rules.")
    document = {key: value for key, value in found[0].items() if value is not None}
    if isinstance(document.get("rules"), dict):
        return document.get("name"), _plain(document["rules"])
    return document.pop("name", None), _plain(document)


def _plain(rules: dict[str, Any]) -> dict[str, Any]:
    import msgspec

    # YAML reads `2027-01-01` as a date; the API wants its text.
    plain: dict[str, Any] = msgspec.to_builtins(rules)
    return plain


def _calendars_table(found: list[Any]) -> str:
    if not found:
        return "There are no calendars. `chronosctl calendar apply --help` shows how to make one."
    rows = [
        (item.get("name"), item.get("revision"), local_time(item.get("updated_at")), ", ".join(item.get("rules") or {}))
        for item in found
    ]
    return table(("NAME", "REVISION", "UPDATED", "RULES"), rows)
