"""`chronos verify`: prove afterwards, from exported files alone, what happened."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from chronos.verify.report import JobCounts, Problem, Report

EXIT_WRONG = 1
EXIT_UNREADABLE = 2


class _Instant(click.ParamType):  # type: ignore[type-arg]  # generic for the type checker only
    """An instant as RFC 3339 writes it, as seconds since 1970."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            self.fail(f"{value!r} is no instant; write it as 2027-01-01T09:00:00Z", param, ctx)
        return int(at.astimezone(UTC).timestamp())


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--since", type=_Instant(), metavar="INSTANT", help="Account for instants from here on only.")
@click.option("--until", type=_Instant(), metavar="INSTANT", help="Account for instants up to here only.")
@click.option("--head", "heads", multiple=True, metavar="HASH", help="A head of an earlier report: still there?")
@click.option("-v", "--verbose", is_flag=True, help="Show the counts of every job.")
@click.option(
    "-n", "--problems", default=20, show_default=True, type=click.IntRange(0, 100_000), help="How many to show."
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How to print it.")
def verify(
    files: tuple[Path, ...],
    since: int | None,
    until: int | None,
    heads: tuple[str, ...],
    verbose: bool,
    problems: int,
    output: str,
) -> None:
    """Say whether an export holds together, and whether every due instant is accounted for.

    Reads nothing but FILES: one export, or the parts of one in their order. It needs no server, and none of the
    server's code: it computes for itself what was due. Exit code 0: all is there; 1: something is wrong, and
    which job and instant; 2: this cannot be read.

    \b
    Examples:
      chronos verify export.ndjson
      chronos verify export.ndjson --head 5f1c…d2 -o json
      chronos verify march.ndjson --since 2027-03-01T00:00:00Z --until 2027-03-31T23:59:59Z -v
    """
    from chronos.verify import verifying

    question = verifying.Question(since_s=since, until_s=until, heads=list(heads), problems_max=problems)
    try:
        report = verifying.verify(files, question, _Progress())
    except (verifying.NotAnExport, OSError) as exc:
        click.echo(f"chronos: {exc}", err=True)
        sys.exit(EXIT_UNREADABLE)
    click.echo(_as_json(report, verbose=verbose) if output == "json" else _as_text(report, verbose=verbose))
    sys.exit(0 if report.is_verified else EXIT_WRONG)


class _Progress:
    """One line on a terminal's stderr, rewritten at each hundredth."""

    def __init__(self) -> None:
        self._shown = ""
        self._is_wanted = sys.stderr.isatty()

    def __call__(self, what: str, share: float) -> None:
        text = f"{what} {min(100, int(share * 100))}%"
        if self._is_wanted and text != self._shown:
            click.echo(f"\r{text:<24}" + ("\r" if share >= 1 else ""), err=True, nl=False)
            self._shown = text


# For people.


def _as_text(report: Report, *, verbose: bool) -> str:
    from chronos.verify.report import rfc3339

    parts = [_problems(report)] if report.total else []
    window = f"{rfc3339(report.from_s)} to {rfc3339(report.to_s)}" if report.from_s <= report.to_s else "none"
    parts.append(
        f"{'verified' if report.is_verified else 'NOT VERIFIED'}: {report.rows} records in {report.segments} segments, "
        f"{report.seals} seals, {report.changes} changes of what jobs owe\n"
        f"due instants accounted for: {window}"
    )
    parts.append("\n".join(_counts(report.counts)))
    if verbose:
        parts += [f"{counts.job} ({job_id})\n" + "\n".join(_counts(counts)) for job_id, counts in _by_name(report)]
    if report.notes:
        parts.append("\n".join(f"note: {note}" for note in report.notes))
    if report.head:
        parts.append(f"head of segment {report.head_segment}, to keep for the next time:\n  {report.head}")
    return "\n\n".join(parts)


def _by_name(report: Report) -> list[tuple[str, JobCounts]]:
    return sorted(report.jobs.items(), key=lambda item: (item[1].job, item[0]))


def _problems(report: Report) -> str:
    lines = [line for problem in report.problems for line in _problem(problem)]
    more = report.total - len(report.problems)
    if more > 0:
        kinds = ", ".join(f"{count} {kind}" for kind, count in report.kinds.most_common())
        lines.append(f"… and {more} more ({kinds} in all)")
    return "\n".join(lines)


def _problem(problem: Problem) -> list[str]:
    from chronos.cli.chronosctl.output import visible

    about = ", ".join(part for part in (problem.job or problem.job_id, problem.when) if part)
    return [f"{problem.kind.value}: {visible(about)}", f"  {visible(problem.what)}", f"  {problem.means}"]


def _counts(counts: JobCounts) -> list[str]:
    lines = [f"  planned       {counts.planned}"]
    lines += [f"  {status:<13} {number}" for status, number in sorted(counts.ended.items())]
    lines += [f"  {'skipped: ' + why:<13} {number}" for why, number in sorted(counts.skipped.items())]
    rest = {
        "gone with retention": counts.gone,
        "in a pause that has not ended": counts.in_pause,
        "UNACCOUNTED FOR": counts.unaccounted,
        "asked for by hand": counts.by_hand,
    }
    return lines + [f"  {what} {number}" for what, number in rest.items() if number]


# For programs.


def _as_json(report: Report, *, verbose: bool) -> str:
    import msgspec

    from chronos.verify.report import rfc3339

    plain: dict[str, Any] = {
        "verified": report.is_verified,
        "problems": [_plain(problem) for problem in report.problems],
        "problems_total": report.total,
        "problems_by_kind": dict(report.kinds),
        "from": rfc3339(report.from_s),
        "to": rfc3339(report.to_s),
        "records": report.rows,
        "segments": report.segments,
        "seals": report.seals,
        "changes": report.changes,
        "counts": _plain_counts(report.counts),
        "notes": report.notes,
        "head": report.head,
        "head_segment": report.head_segment,
        "tzdata": report.tzdata,
    }
    if verbose:
        plain["jobs"] = [{"job": c.job, "job_id": job_id, **_plain_counts(c)} for job_id, c in _by_name(report)]
    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode()


def _plain(problem: Problem) -> dict[str, Any]:
    from chronos.verify.report import rfc3339

    return {
        "kind": problem.kind.value,
        "job": problem.job,
        "job_id": problem.job_id,
        "instant": None if problem.instant_s is None else rfc3339(problem.instant_s),
        "until": None if problem.until_s is None else rfc3339(problem.until_s),
        "what": problem.what,
        "means": problem.means,
    }


def _plain_counts(counts: JobCounts) -> dict[str, Any]:
    return {
        "planned": counts.planned,
        "ended": dict(counts.ended),
        "skipped": dict(counts.skipped),
        "gone": counts.gone,
        "in_pause": counts.in_pause,
        "unaccounted": counts.unaccounted,
        "by_hand": counts.by_hand,
    }
