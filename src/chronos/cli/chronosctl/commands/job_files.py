"""`job import` and `job export`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import click

from chronos.cli.chronosctl.crontab import Crontab, parse_crontab
from chronos.cli.chronosctl.jobfiles import FileJob, check_job, parse_jobs, read_text
from chronos.cli.chronosctl.lazy import leaf
from chronos.cli.chronosctl.output import emit, table
from chronos.cli.chronosctl.pages import jobs_of
from chronos.cli.chronosctl.portable import portable, starred_paths
from chronos.cli.chronosctl.progress import progress
from chronos.cli.chronosctl.session import Session
from chronos.cli.localzone import local_zone
from chronos.client import operations as ops
from chronos.errors import Invalid

_CHUNK = 500
_CHUNK_CHARS = 4_000_000
_JOB_SUFFIXES = (".yaml", ".yml", ".json")


@leaf("import")
@click.argument("file", metavar="FILE")
@click.option("--crontab/--jobs", "as_crontab", default=None, help="What FILE is; else its name says it.")
@click.option("--system", is_flag=True, help="The crontab has a user column, like /etc/crontab.")
@click.option("--run-as", default="", metavar="USER", help="Whose crontab it is: run its commands as USER.")
@click.option("--timezone", "--tz", "timezone", metavar="ZONE", help="Zone of the crontab; else this machine's.")
@click.option("--skip-refused", is_flag=True, help="Leave out crontab lines that cannot become jobs.")
@click.option("--dry-run", is_flag=True, help="Print the jobs and create none.")
@click.pass_context
def import_jobs(
    ctx: click.Context,
    file: str,
    as_crontab: bool | None,
    system: bool,
    run_as: str,
    timezone: str | None,
    skip_refused: bool,
    dry_run: bool,
) -> None:
    """Create jobs from job files or a crontab. A job that is there by that name is replaced.

    A crontab's commands become programs that the server runs; it does so only when
    `dispatcher.process.enabled` is set. Whatever is wrong in the file is said before anything is changed.

    \b
    Examples:
      crontab -l | chronosctl job import - --crontab --dry-run
      chronosctl job import /etc/crontab --system
      chronosctl job import jobs.yaml
    """
    session: Session = ctx.obj
    if system and run_as:
        raise Invalid("--system says that the crontab names the users itself; then --run-as has no place.")
    crontab = as_crontab if as_crontab is not None else not file.endswith(_JOB_SUFFIXES)
    text = read_text(file)
    if crontab:
        found = _read_crontab(session, text, timezone, system, run_as)
        jobs = _crontab_jobs(session, found, file, skip_refused)
    else:
        jobs = parse_jobs(text, file, namespace=session.namespace)
    if not jobs:
        raise Invalid(f"There is no job in {file}.")
    if dry_run:
        _print_jobs(session, [job.document for job in jobs])
        return
    results = _send(session, jobs)
    emit(session, results, _results_text)
    if worst := _exit_code(results):
        ctx.exit(worst)


def _read_crontab(session: Session, text: str, timezone: str | None, system: bool, run_as: str) -> Crontab:
    zone = timezone or local_zone(session.environ) or "UTC"
    if not timezone:
        session.note(f"The crontab is read in the zone {zone}; --timezone says otherwise.")
    namespace = session.namespace or "default"
    return parse_crontab(text, timezone=zone, system=system, run_as=run_as, namespace=namespace)


def _crontab_jobs(session: Session, found: Crontab, file: str, skip_refused: bool) -> list[FileJob]:
    _tell(session, found, skip_refused)
    if found.refused and not skip_refused:
        raise Invalid(f"{file}: {len(found.refused)} lines cannot become jobs; --skip-refused leaves them out.")
    return [check_job(document, file) for document in found.jobs]


def _tell(session: Session, found: Crontab, skip_refused: bool) -> None:
    for note in found.notes:
        session.note(f"note: {note}")
    for refusal in found.refused:
        session.note(f"{'left out' if skip_refused else 'refused'}: {refusal}")


def _send(session: Session, jobs: Sequence[FileJob]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for chunk in progress(chunks_of(jobs), "importing"):
        answer = session.fetch(ops.batch(job.document for job in chunk))
        for item in answer.get("results", []):
            job = chunk[item["line"] - 1]
            results.append({**item, "line": len(results) + 1, "name": item.get("name") or job.spec.name})
    return results


def chunks_of(jobs: Sequence[FileJob]) -> list[list[FileJob]]:
    """Return the jobs in requests of bounded number and size, in order."""
    chunks: list[list[FileJob]] = [[]]
    size = 0
    for job in jobs:
        chars = len(str(job.document))
        if len(chunks[-1]) >= _CHUNK or (chunks[-1] and size + chars > _CHUNK_CHARS):
            chunks.append([])
            size = 0
        chunks[-1].append(job)
        size += chars
    return chunks


def _results_text(results: Sequence[dict[str, Any]]) -> str:
    rows = [(item["name"], _outcome(item), (item.get("error") or {}).get("detail", "")) for item in results]
    good = sum(item.get("error") is None for item in results)
    return f"{table(('NAME', 'RESULT', 'WHY'), rows)}\n{good} of {len(results)} imported"


def _outcome(item: dict[str, Any]) -> str:
    if item.get("error"):
        return "refused"
    return "created" if item.get("status") == 201 else "replaced"


def _exit_code(results: Sequence[dict[str, Any]]) -> int:
    from chronos.cli.chronosctl.exits import code_of
    from chronos.client.problems import error_of

    bad = [item for item in results if item.get("error")]
    return code_of(error_of(bad[0].get("status", 422), b"", "the server")) if bad else 0


@leaf()
@click.argument("refs", metavar="[JOB]…", nargs=-1)
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only jobs with this tag; repeatable.")
@click.pass_obj
def export(session: Session, refs: tuple[str, ...], tags: tuple[str, ...]) -> None:
    """Print jobs as a file that `job import` and `job apply` take. Credentials are not in it.

    \b
    Examples:
      chronosctl job export > jobs.yaml
      chronosctl job export nightly weekly
    """
    from chronos.cli.chronosctl.jobflags import split_pair

    wanted = dict(split_pair(text, "--tag") for text in tags)
    if refs:
        found = [session.on_job(ref, ops.job) for ref in refs]
    else:
        found = list(islice(jobs_of(session, tags=wanted), ops.EXPORT_MAX))
    documents = [portable(job) for job in found]
    hidden = [f"{job['name']}: {path}" for job in documents for path in starred_paths(job)]
    if hidden:
        session.note(
            f"{len(hidden)} credentials are `***` in the export (first: {hidden[0]}); on this server they are kept, "
            "for another one write them in, best as ${secret:…}."
        )
    _print_jobs(session, documents)


def _print_jobs(session: Session, documents: list[dict[str, Any]]) -> None:
    from chronos.cli.chronosctl.yamlfile import dump_yaml

    emit(session, {"jobs": documents}, lambda plain: dump_yaml(plain).rstrip("\n"))
