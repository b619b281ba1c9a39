"""`--to-job`: the job file that would run the same schedule on a server."""

from __future__ import annotations

from chronos.cli.chronosctl.jobfiles import check_job
from chronos.cli.chronosctl.yamlfile import dump_yaml
from chronos.cli.rpr.asked import Asked
from chronos.cli.rpr.modes import zone_of
from chronos.repeater.tojob import job_of, notes


def job_file(asked: Asked, directory: str) -> str:
    """Return the file, checked as `chronosctl` checks it.

    Raises:
        Invalid: No job does that, or not under this name.
    """
    mode = asked.subcommand
    values = {**asked.values, "until_at": asked.plan.stops.until_at, "timeout": asked.plan.timeout_s}
    zone = zone_of(asked) if mode.name == "cron" else ""
    document = job_of(
        asked.get("to_job"), mode.name, values, asked.plan.argv, zone=zone, retries=mode.retries, directory=directory
    )
    check_job(document, "--to-job")
    return "".join(f"# {line}\n" for line in notes(document)) + dump_yaml(document)
