"""`chronosctl cluster`: how the cluster is, who belongs to it, and who leads."""

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
        "members": Lazy("cluster:members", "List who belongs to the cluster."),
        "add": Lazy("cluster:add", "Let a node join."),
        "remove": Lazy("cluster:remove", "Remove a member, dead or alive."),
        "promote": Lazy("cluster:promote", "Give a node that joins its vote."),
        "transfer-leadership": Lazy("cluster:transfer_leadership", "Let another node lead."),
        "snapshot": Lazy("cluster_snapshot:snapshot", "Write what a node has to a file."),
        "breakers": Lazy("cluster:breakers", "Show hosts that have failed."),
        "reset-breaker": Lazy("cluster:reset_breaker", "Let requests to a host through again."),
    },
)
def cluster() -> None:
    """How the cluster is, who belongs to it, and who leads."""


@leaf()
@click.pass_obj
def status(session: Session) -> None:
    """Show how the node and its cluster stand."""
    from chronos.client import operations as ops

    emit(session, session.fetch(ops.cluster_status()), _status_text)


@leaf()
@click.pass_obj
def members(session: Session) -> None:
    """List who belongs to the cluster, and who was removed from it."""
    from chronos.cli.chronosctl.pages import rows_of
    from chronos.client import operations as ops

    emit(session, rows_of(session.fetch(ops.cluster_members()), "members"), _members_table)


@leaf()
@click.argument("node", metavar="NAME[=HOST[:PORT]]")
@click.option("--engine", metavar="HOST:PORT", help="Where its engine is reached. [default: the port behind HOST:PORT]")
@click.option("--api", metavar="URL", help="Where its API is reached.")
@click.pass_obj
def add(session: Session, node: str, engine: str | None, api: str | None) -> None:
    """Let a node join: it gets the log, and a vote by itself when it has caught up. One at a time.

    Without HOST a member that was removed comes back to the addresses it had. The node is made before, with `chronos
    cluster invite` or `chronos cluster node`, which print this command.

    \b
    Examples:
      chronosctl cluster add n4=10.0.0.4
      chronosctl cluster add n3
    """
    from chronos.client import operations as ops

    name, _, peer = node.partition("=")
    answer = session.fetch(ops.add_member(name, peer or None, engine=engine, api=api))
    say(session, answer, _noted(f"{name} joins", answer))


@leaf()
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(session: Session, name: str, yes: bool) -> None:
    """Remove a member, dead or alive. Refused when the others could not go on without it.

    One that runs ends what it does and stops. To have it back it starts with an empty data folder, after `add`.
    """
    from chronos.cli.chronosctl.asking import confirm
    from chronos.client import operations as ops

    if not yes:
        confirm(f"{name} will belong to the cluster no more, and needs an empty data folder to come back. Go on?")
    answer = session.fetch(ops.remove_member(name))
    say(session, answer, _noted(f"{name} is removed", answer))


@leaf()
@click.argument("name")
@click.pass_obj
def promote(session: Session, name: str) -> None:
    """Give a node that joins its vote, as soon as it has caught up; by itself it gets it then, too."""
    from chronos.client import operations as ops

    answer = session.fetch(ops.promote_member(name))
    say(session, answer, _noted(f"{name} has its vote", answer))


@leaf("transfer-leadership")
@click.argument("node", required=False)
@click.pass_obj
def transfer_leadership(session: Session, node: str | None) -> None:
    """Let NODE lead, or any other node: its engine leads the engines, too. For work on the host that leads."""
    from chronos.client import operations as ops

    answer = session.fetch(ops.transfer_leadership(node))
    say(session, answer, f"{answer.get('leader', '?')} leads")


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


def _noted(what: str, answer: Any) -> str:
    note = answer.get("note")
    return f"{what}: {note}" if note else what


def _members_table(found: list[Any]) -> str:
    rows = [(one.get("name"), one.get("role"), one.get("peer"), one.get("engine"), one.get("api")) for one in found]
    return table(("NAME", "ROLE", "PEER", "ENGINE", "API"), rows)


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
