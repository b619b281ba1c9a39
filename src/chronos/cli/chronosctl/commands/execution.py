"""`chronosctl execution`: what ran, what did not, and why."""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from chronos.cli.chronosctl.completing import job_names
from chronos.cli.chronosctl.lazy import Lazy, LazyGroup, leaf
from chronos.cli.chronosctl.output import emit, say, visible_text
from chronos.cli.chronosctl.session import Session

_STATUSES = ("pending", "running", "retrying", "success", "failed", "skipped", "cancelled")
_EXCERPT_CHARS = 1_000


@click.group(
    cls=LazyGroup,
    lazy={
        "list": Lazy("execution:list_executions", "Show executions, newest first."),
        "get": Lazy("execution:get", "Show one execution with its attempts."),
        "logs": Lazy("execution:logs", "Print what an execution's program wrote, or its target answered."),
        "watch": Lazy("execution:watch", "Show executions as they happen."),
        "cancel": Lazy("execution:cancel", "Stop executions."),
        "replay": Lazy("execution:replay", "Run the job of an execution again, as a new execution."),
        "redrive": Lazy("execution:redrive", "Try a dead-lettered execution again, under its own id."),
        "dead-letters": Lazy("execution:dead_letters", "Show what failed for good and can be redriven."),
        "export": Lazy("execution:export_executions", "Write executions to a file, as NDJSON."),
    },
)
def execution() -> None:
    """See what ran, what did not and why; cancel, replay, watch."""


@leaf("list")
@click.argument("ref", metavar="[JOB]", required=False, shell_complete=job_names)
@click.option("--status", "statuses", type=click.Choice(_STATUSES), multiple=True, help="Repeatable.")
@click.option("--since", metavar="INSTANT", help="Due at or after: 2027-01-01, or 2h (ago).")
@click.option("--until", metavar="INSTANT", help="Due before.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True)
@click.pass_obj
def list_executions(
    session: Session, ref: str | None, statuses: tuple[str, ...], since: str | None, until: str | None, limit: int
) -> None:
    """Show executions, newest first: of one job, or of all.

    \b
    Examples:
      chronosctl execution list
      chronosctl execution list nightly --status failed --since 7d
    """
    from chronos.cli.chronosctl.pages import pages
    from chronos.cli.chronosctl.views import executions_table
    from chronos.cli.chronosctl.when import parse_instant
    from chronos.client import operations as ops

    begin = parse_instant(since, session.clock, option="--since") if since else None
    end = parse_instant(until, session.clock, option="--until") if until else None
    job = session.on_job(ref, ops.job)["id"] if ref else None
    asked = {"job": job, "status": ",".join(statuses), "since": begin, "until": end, "limit": min(limit, ops.PAGE_MAX)}
    walk = pages(session, "executions", lambda cursor: ops.executions(cursor=cursor, **asked))  # type: ignore[arg-type]
    emit(session, list(islice(walk, limit)), executions_table)


@leaf()
@click.argument("ref", metavar="EXECUTION")
@click.pass_obj
def get(session: Session, ref: str) -> None:
    """Show one execution with its attempts."""
    from chronos.cli.chronosctl.views import execution_details
    from chronos.client import operations as ops

    emit(session, session.fetch(ops.execution(ref)), execution_details)


@leaf()
@click.argument("ref", metavar="EXECUTION")
@click.option("-f", "--follow", is_flag=True, help="Go on until it has ended.")
@click.pass_obj
def logs(session: Session, ref: str, follow: bool) -> None:
    """Print what an execution's program wrote, or what its target answered.

    With --follow what a program prints, or the target of a long job reports, is shown as it comes, and every attempt
    until the execution has ended.
    Ctrl-C ends the following, not the execution.

    \b
    Examples:
      chronosctl execution logs occ_… -f
    """
    from chronos.cli.chronosctl.following import follow_logs
    from chronos.cli.chronosctl.views import progress_of
    from chronos.client import operations as ops

    if not follow:
        emit(session, session.fetch(ops.execution_logs(ref)), _logs_text)
        return
    printed = 0
    for told in follow_logs(session, ref):
        if session.output != "table":
            click.echo(_live(session, told))
        elif told["event"] == "end":
            session.note(f"The execution has ended: {told['status']}.")
        elif told["event"] == "progress":
            click.echo(f"attempt {told['attempt']}: {visible_text(progress_of(told))}")
        elif told["event"] == "output":
            _print_piece(told, is_first=told["attempt"] != printed)
            printed = told["attempt"]
        elif told["attempt"] != printed:
            click.echo(_entry_text(told))


def _print_piece(piece: dict[str, Any], *, is_first: bool) -> None:
    if is_first:
        click.echo(f"--- attempt {piece['attempt']}")
    click.echo(visible_text(piece["text"]), nl=False)


def _logs_text(answer: dict[str, Any]) -> str:
    return "\n".join(_entry_text(entry) for entry in answer.get("logs", [])) or "Nothing was written or answered."


def _entry_text(entry: dict[str, Any]) -> str:
    from chronos.cli.chronosctl.views import progress_of

    text = visible_text(str(entry.get("text", ""))).rstrip("\n")
    cut = " (only its beginning was kept)" if entry.get("is_excerpt") and len(text) >= _EXCERPT_CHARS else ""
    far = visible_text(progress_of(entry))
    note = f"\n({visible_text(str(entry['note']))})" if entry.get("note") else ""
    return f"--- attempt {entry.get('attempt')}{cut}{f' ({far})' if far else ''}\n{text}".rstrip("\n") + note


@leaf()
@click.option("--job", "job", metavar="JOB", help="Only of this job.")
@click.option("--count", type=click.IntRange(1), help="Stop after so many.")
@click.pass_obj
def watch(session: Session, job: str | None, count: int | None) -> None:
    """Show executions as they happen, until interrupted.

    \b
    Examples:
      chronosctl execution watch --job nightly
      chronosctl execution watch -o json | jq .status
    """
    from chronos.client import operations as ops

    job_id = session.on_job(job, ops.job)["id"] if job else None
    found = (
        told
        for event in session.client.watch_executions(job=job_id)
        if isinstance(event.data, dict) and (told := event.data.get("execution", event.data)) and "status" in told
    )
    for item in islice(found, count):
        click.echo(_live(session, item))


def _live(session: Session, item: dict[str, Any]) -> str:
    from chronos.cli.chronosctl.views import execution_line

    if session.output == "table":
        return execution_line(item)
    if session.output == "yaml":
        from chronos.cli.chronosctl.yamlfile import dump_yaml

        return f"---\n{dump_yaml(item)}".rstrip()
    import msgspec

    return msgspec.json.encode(item).decode()


@leaf()
@click.argument("refs", metavar="EXECUTION…", nargs=-1, required=True)
@click.option("--reason", default="", metavar="TEXT", help="Why.")
@click.pass_obj
def cancel(session: Session, refs: tuple[str, ...], reason: str) -> None:
    """Stop executions; what runs is stopped where that is possible.

    One that is refused, because it has ended, does not keep the others from it.
    """
    from chronos.cli.chronosctl.each import each
    from chronos.client import operations as ops

    def stop(ref: str) -> tuple[Any, str]:
        answer = session.fetch(ops.cancel_execution(ref, reason=reason))
        word = "cancelled" if answer.get("status") == "cancelled" else "cancelling"
        return answer, f"{word} {ref}"

    each(session, refs, stop, "stopped")


@leaf()
@click.argument("ref", metavar="EXECUTION")
@click.pass_obj
def replay(session: Session, ref: str) -> None:
    """Run the job of an execution again, as a new execution."""
    from chronos.client import operations as ops

    answer = session.fetch(ops.replay_execution(ref))
    say(session, answer, f"replaying {ref} as {answer['id']}")


@leaf()
@click.argument("refs", metavar="[EXECUTION]…", nargs=-1)
@click.option("--job", metavar="JOB", help="All dead letters of this job.")
@click.option("--all", "everything", is_flag=True, help="All dead letters of the namespace.")
@click.pass_obj
def redrive(session: Session, refs: tuple[str, ...], job: str | None, everything: bool) -> None:
    """Try dead-lettered executions again, each under its own id.

    One that is refused does not keep the others from it: the reason goes to stderr, and the exit code is that
    of the first refusal.

    \b
    Examples:
      chronosctl execution redrive occ_…
      chronosctl execution redrive --job nightly
    """
    from chronos.cli.chronosctl.each import each
    from chronos.cli.chronosctl.pages import pages
    from chronos.client import operations as ops
    from chronos.errors import Invalid

    if (bool(refs) + (job is not None) + everything) != 1:
        raise Invalid("Name executions, or give --job or --all.")
    found = list(refs)
    if not refs:
        job_id = session.on_job(job, ops.job)["id"] if job else None
        walk = pages(
            session, "executions", lambda cursor: ops.dead_letters(job=job_id, cursor=cursor, limit=ops.PAGE_MAX)
        )
        # All of them before the first is started: starting one changes the list.
        found = [dead["id"] for dead in walk]

    def start(ref: str) -> tuple[Any, str]:
        answer = session.fetch(ops.redrive_execution(ref))
        return answer, f"redriving {ref} ({answer.get('status', 'pending')})"

    each(session, found, start, "redriven")
    if not found:
        session.note("There are no dead letters.")


@leaf("dead-letters")
@click.argument("ref", metavar="[JOB]", required=False, shell_complete=job_names)
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True)
@click.pass_obj
def dead_letters(session: Session, ref: str | None, limit: int) -> None:
    """Show what failed for good and can be redriven, newest first: of one job, or of all."""
    from chronos.cli.chronosctl.pages import pages
    from chronos.cli.chronosctl.views import executions_table
    from chronos.client import operations as ops

    size = min(limit, ops.PAGE_MAX)
    job_id = session.on_job(ref, ops.job)["id"] if ref else None
    walk = pages(session, "executions", lambda cursor: ops.dead_letters(job=job_id, cursor=cursor, limit=size))
    emit(session, list(islice(walk, limit)), executions_table)


@leaf("export")
@click.argument("ref", metavar="[JOB]", required=False, shell_complete=job_names)
@click.option("--since", metavar="INSTANT", help="Due at or after: 2027-01-01, or 2h (ago).")
@click.option("--until", metavar="INSTANT", help="Due before.")
@click.option("--proof", is_flag=True, help="Also what verifying them needs.")
@click.option("--to", "file", metavar="FILE", default="-", show_default=True, help="A new file; - is standard output.")
@click.pass_obj
def export_executions(
    session: Session, ref: str | None, since: str | None, until: str | None, proof: bool, file: str
) -> None:
    """Write the executions of a namespace to a file, one JSON object a line: of one job, or of all.

    What breaks off is picked up where it broke off. `chronosctl export` writes all namespaces, to be verified.

    \b
    Examples:
      chronosctl execution export nightly --since 30d --to nightly.ndjson
    """
    from chronos.cli.chronosctl.downloading import download
    from chronos.cli.chronosctl.when import parse_instant
    from chronos.client import operations as ops

    begin = parse_instant(since, session.clock, option="--since") if since else None
    end = parse_instant(until, session.clock, option="--until") if until else None
    job = session.on_job(ref, ops.job)["id"] if ref else None
    records = download(
        session,
        lambda cursor: ops.export_executions(job=job, since=begin, until=end, proof=proof, cursor=cursor),
        file,
    )
    session.note(f"Exported {records} records.")
