"""`chronosctl cluster`: how the cluster is."""

from __future__ import annotations

from typing import Any

import click

from chronos.cli.chronosctl.lazy import Lazy, LazyGroup, leaf
from chronos.cli.chronosctl.output import emit, local_time, pairs, say, table
from chronos.cli.chronosctl.session import Session


@click.group(
    cls=LazyGroup,
    lazy={
        "status": Lazy("cluster:status", "Show how the node and its cluster stand."),
        "breakers": Lazy("cluster:breakers", "Show hosts that have failed."),
        "reset-breaker": Lazy("cluster:reset_breaker", "Let requests to a host through again."),
    },
)
def cluster() -> None:
    """How the cluster is."""


@leaf()
@click.pass_obj
def status(session: Session) -> None:
    """Show how the node and its cluster stand."""
    from chronos.client import operations as ops

    emit(session, session.fetch(ops.cluster_status()), _status_text)


@leaf()
@click.pass_obj
def breakers(session: Session) -> None:
    """Show hosts that have failed, and whether requests to them are held back."""
    from chronos.cli.chronosctl.pages import rows_of
    from chronos.client import operations as ops

    emit(session, rows_of(session.fetch(ops.breakers()), "breakers"), _breakers_table)


@leaf("reset-breaker")
@click.argument("host")
@click.pass_obj
def reset_breaker(session: Session, host: str) -> None:
    """Let requests to a host through again."""
    from chronos.client import operations as ops

    answer = session.fetch(ops.reset_breaker(host, namespace=session.namespace or "default"))
    say(session, answer, f"requests to {host} go through again")


def _status_text(plain: Any) -> str:
    head = pairs(
        [
            ("Node", plain.get("node_id")),
            ("Version", plain.get("version")),
            ("Ready", plain.get("ready")),
            ("Is leader", plain.get("is_leader")),
            ("Leader", plain.get("leader")),
            ("Term", plain.get("term")),
            ("Log index", plain.get("applied_index")),
            ("Jobs", plain.get("jobs_total")),
            ("Enabled", plain.get("jobs_enabled")),
            ("Running", plain.get("running")),
            ("Dead letters", plain.get("dead_letters")),
        ]
    )
    parts = [head]
    if peers := plain.get("peers"):
        rows = [(peer.get("id"), peer.get("address"), peer.get("state")) for peer in peers]
        parts.append(table(("PEER", "ADDRESS", "STATE"), rows))
    if workers := plain.get("workers"):
        parts.append(table(("WORKER", "PID", "STATE", "RESTARTS", "IN FLIGHT"), [_worker_row(one) for one in workers]))
    if upcoming := plain.get("next_runs"):
        runs = [(run.get("job_name") or run.get("job_id"), local_time(run.get("next_run"))) for run in upcoming]
        parts.append(table(("NEXT", "WHEN"), runs))
    return "\n\n".join(parts)


def _worker_row(worker: Any) -> tuple[Any, ...]:
    state = "up" if worker.get("is_up") else "restarting"
    return worker.get("number"), worker.get("pid"), state, worker.get("restarts"), worker.get("in_flight")


def _breakers_table(found: list[Any]) -> str:
    if not found:
        return "No host has failed lately."
    rows = [
        (item.get("namespace"), item.get("host"), item.get("state"), item.get("failures"), item.get("retry_in_s"))
        for item in found
    ]
    return table(("NAMESPACE", "HOST", "STATE", "FAILURES", "RETRY IN S"), rows)
