"""The doctor's rounds on a server that answers: its jobs, their targets, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from chronos.cli.chronosctl.finding import Finding, Level
from chronos.cli.chronosctl.pages import jobs_of, rows_of
from chronos.cli.chronosctl.session import Session
from chronos.client import Client
from chronos.client import operations as ops
from chronos.errors import Denied, NotFound
from chronos.timing.clock import utc

JOBS_LOOKED_AT_MAX = 10_000
NAMES_SHOWN_MAX = 5
LOOK_BACK = timedelta(hours=24)
OVERDUE = timedelta(hours=1)

Round = Callable[[Client, Session], Iterator[Finding]]


def make_rounds(client: Client, session: Session) -> Iterator[Finding]:
    """Yield what every round finds; one that this key may not make, or an older server does not know, is left out."""
    for look in (heartbeat, breakers, failures, calendars, overdue, channels, lost_notices, log):
        try:
            yield from look(client, session)
        except (Denied, NotFound):
            continue


def heartbeat(client: Client, _: Session) -> Iterator[Finding]:
    """Does planning go on, and does somebody outside know it?"""
    found = client.call(ops.heartbeat())
    if not found.get("scheduling"):
        yield Finding(Level.BAD, f"nothing is planned: {found.get('trouble')}", "Its log says more.")
    elif not found.get("configured"):
        what = "nobody outside notices when this server dies: a dead server cannot report itself"
        yield Finding(Level.WARNING, what, "Set heartbeat.url to a dead man's switch of another house.")
    elif found.get("last_error"):
        what = f"the last heartbeat did not arrive: {found['last_error']}"
        yield Finding(Level.WARNING, what, "See whether heartbeat.url is right, and the way there open.")
    else:
        yield Finding(Level.GOOD, "planning goes on, and somebody outside is told so")


def log(client: Client, _: Session) -> Iterator[Finding]:
    """Has the log what is needed of it: by the last backup, and by features that are behind?"""
    found = client.cluster_status().get("log")
    if not found:
        return
    weighs = f"the log weighs {found['bytes'] / 1e6:.0f} MB"
    passed = found.get("cut_past") or []
    if "backup" in passed:
        what = f"{weighs} and does not reach back to the last backup: instants in between cannot be restored"
        yield Finding(Level.WARNING, what, "Back up more often, or raise cluster.log_held_bytes.")
    if others := [name for name in passed if name != "backup"]:
        what = f"{weighs} and was cut before {_some(others)} had handled all of it"
        yield Finding(Level.WARNING, what, "See in the server's log what keeps it; `subscriber_failed` names it.")
    if not passed:
        kept = ", ".join(f"{entries} entries for {name}" for name, entries in sorted(found.get("held", {}).items()))
        yield Finding(Level.GOOD, weighs + (f", kept as well: {kept}" if kept else ""))


def overdue(_: Client, session: Session) -> Iterator[Finding]:
    """Has a job not been well for an hour since it came due?"""
    limit = utc(session.clock.time()) - OVERDUE
    jobs = islice(jobs_of(session, enabled=True), JOBS_LOOKED_AT_MAX)
    late = [str(job.get("name")) for job in jobs if _is_before(job.get("overdue_since"), limit)]
    if late:
        what = f"{_counted(len(late), 'job')} without a success for more than an hour after coming due: {_some(late)}"
        yield Finding(Level.WARNING, what, f"`chronosctl explain {late[0]}` says why.")
    else:
        yield Finding(Level.GOOD, "no job lacks a success for more than an hour")


def _is_before(text: object, limit: datetime) -> bool:
    return isinstance(text, str) and datetime.fromisoformat(text) < limit


def breakers(client: Client, _: Session) -> Iterator[Finding]:
    """Is a host left alone because it kept failing?"""
    held = [one for one in rows_of(client.call(ops.breakers()), "breakers") if one.get("state") == "open"]
    if not held:
        yield Finding(Level.GOOD, "no host is held back by its circuit breaker")
        return
    hosts = [f"{one.get('host')}" for one in held]
    what = f"{_counted(len(held), 'host')} left alone after failing again and again: {_some(hosts)}"
    yield Finding(Level.WARNING, what, f"See what is wrong there; then `chronosctl cluster reset-breaker {hosts[0]}`.")


def failures(client: Client, session: Session) -> Iterator[Finding]:
    """Did executions fail for good lately?"""
    since = utc(session.clock.time()) - LOOK_BACK
    found = client.call(ops.executions(status="failed", since=since, limit=ops.PAGE_MAX))
    names = sorted({run.job_name or run.job_id for run in found.executions})
    if not names:
        yield Finding(Level.GOOD, "no execution failed for good in the last 24 hours")
        return
    more = "at least " if found.next_cursor else ""
    what = f"{more}{_counted(len(found.executions), 'execution')} failed for good in 24 hours: {_some(names)}"
    yield Finding(Level.WARNING, what, "`chronosctl execution list --status failed --since 24h` says why.")


def calendars(_: Client, session: Session) -> Iterator[Finding]:
    """Is there a job that may fire and whose calendar lets nothing through?"""
    jobs = islice(jobs_of(session, enabled=True), JOBS_LOOKED_AT_MAX)
    stuck = [str(job.get("name")) for job in jobs if job.get("calendar") and not job.get("next_run")]
    if stuck:
        what = f"{_counted(len(stuck), 'job')} enabled but never due, because the calendar lets nothing through: "
        advice = f"`chronosctl job get {stuck[0]}` names the calendar; `chronosctl calendar get` shows it."
        yield Finding(Level.BAD, what + _some(stuck), advice)
    else:
        yield Finding(Level.GOOD, "every enabled job with a calendar has a next run")


def channels(client: Client, _: Session) -> Iterator[Finding]:
    """Is anybody told when a job fails?"""
    found = client.call(ops.notify_channels())
    if found.get("channels"):
        named = [str(one.get("name")) for one in found["channels"]]
        yield Finding(Level.GOOD, f"when a job fails, {_some(named)} is told")
        return
    what = "nobody is told when a job fails, unless the job has a `notify` of its own"
    yield Finding(Level.WARNING, what, "Set notify.channels on the server, then `chronosctl notify test`.")


def lost_notices(client: Client, _: Session) -> Iterator[Finding]:
    """Did word of a failure get lost?"""
    lost: dict[str, Any] = client.call(ops.lost_notices(limit=1))
    if not lost.get("total"):
        return
    newest = (lost.get("lost") or [{}])[0]
    what = f"{_counted(lost['total'], 'message')} lost; the newest, to {newest.get('channel')}: {newest.get('reason')}"
    yield Finding(Level.WARNING, what, "Put the channel right, then `chronosctl notify test`.")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN_MAX} more" if len(names) > NAMES_SHOWN_MAX else ""
    return ", ".join(names[:NAMES_SHOWN_MAX]) + more


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
