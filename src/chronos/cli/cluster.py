"""`chronos cluster init | invite | join | node | renew | show`: what a cluster is made of, where its authority lies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

SOON_DAYS = 30

_OUT = click.option(
    "--out", default=".", show_default=True, type=click.Path(path_type=Path), help="Where the folders are."
)
_DATA_DIR = click.option(
    "--data-dir",
    default="./{node}/data",
    show_default=True,
    metavar="DIR",
    help="Where the node keeps its data; {node} is its name.",
)
_WITHOUT = click.option(
    "--without", multiple=True, metavar="NAME", help="A node that belongs to the cluster no more; once for each."
)
_KEYS = click.option(
    "--keys-from",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The data folder of a member, where the cluster's keys are not beside its authority.",
)
_OUTPUT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.group()
def cluster() -> None:
    """Found a cluster: its own certificate authority, and a folder for each node with all that it starts with."""


@cluster.command()
@click.option("--name", required=True, help="What the cluster is called.")
@click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="NAME=HOST[:PORT]",
    help="A node, and where the others reach it; once for each. [default port: 7443]",
)
@click.option(
    "--data-dir",
    default="./{node}/data",
    show_default=True,
    metavar="DIR",
    help="Where the nodes keep their data; {node} is a node's name.",
)
@click.option(
    "--keys-from",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The data folder of a server that is to become a cluster: keep its keys.",
)
@_OUT
@_OUTPUT
def init(name: str, nodes: tuple[str, ...], data_dir: str, keys_from: Path | None, out: Path, output: str) -> None:
    """Make a certificate authority, and a folder for each node: configuration, certificate, and keys.

    Nothing that is there is overwritten. The folder `ca` stays where this ran: whoever has it can make nodes.

    \b
    Examples:
      chronos cluster init --name prod --node n1=10.0.0.1 --node n2=10.0.0.2 --node n3=10.0.0.3
      chronos cluster init --name test --node n1=127.0.0.1 --node n2=127.0.0.1 --node n3=127.0.0.1 --out test
      chronos cluster init --name prod --node n1=cron1.example.org:7443 --data-dir /var/lib/chronos
    """
    from chronos.server import manifest
    from chronos.server.founding.folders import Wanted, found
    from chronos.server.founding.nodes import advice, read_name, read_nodes
    from chronos.timing.clock import SystemChance, SystemClock

    with _errors():
        chance = SystemChance()
        admin = manifest.fresh_admin_key(chance)
        wanted = Wanted(read_name(name), read_nodes(nodes), out, _checked(data_dir), admin, keys_from)
        plan = found(wanted, SystemClock(), chance)
        told = {
            "name": plan.name,
            "uuid": plan.uuid,
            "authority": str(out / "ca"),
            "nodes": [
                {
                    "name": node.name,
                    "folder": str(out / node.name),
                    "peer": str(node.peer),
                    "engine": str(node.engine),
                    "api": node.api,
                }
                for node in plan.nodes
            ],
            "note": advice(plan.nodes),
        }
        _tell(output, told, _init_in_words)


@cluster.command()
@click.argument("node", metavar="NAME=HOST[:PORT]")
@_DATA_DIR
@_WITHOUT
@_KEYS
@_OUT
@_OUTPUT
def node(node: str, data_dir: str, without: tuple[str, ...], keys_from: Path | None, out: Path, output: str) -> None:
    """Make the folder of one more node, for a cluster that runs; or of one whose host was lost.

    Runs where `chronos cluster init` ran. Bring the folder to its host, add the node with the command that this
    prints, and start it. Without copying secrets by hand: `chronos cluster invite`.

    \b
    Examples:
      chronos cluster node n4=10.0.0.4
      chronos cluster node n3=10.0.0.33 --out ./prod
    """
    from chronos.server.founding.folders import Joining, one_more
    from chronos.timing.clock import SystemChance, SystemClock

    with _errors():
        joining = Joining(node, out, _checked(data_dir), without, keys_from)
        made = one_more(joining, SystemClock(), SystemChance())
    told = {"name": made.name, "folder": str(out / made.name), "add": _adding(made)}
    _tell(output, told, _node_in_words)


@cluster.command()
@click.argument("node", metavar="NAME=HOST[:PORT]")
@click.option("--for", "lasting", default="1h", show_default=True, metavar="TIME", help="How long it is waited for.")
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Where the new host reaches this one. [default: its address there, port 7440]",
)
@_DATA_DIR
@_WITHOUT
@_KEYS
@_OUT
@_OUTPUT
def invite(
    node: str,
    lasting: str,
    address: str | None,
    data_dir: str,
    without: tuple[str, ...],
    keys_from: Path | None,
    out: Path,
    output: str,
) -> None:
    """Invite one node: print the command that it joins with, and wait until it was given.

    Runs where `chronos cluster init` ran. The word that it prints is good for one node and one time; the new node
    makes its own private key, which never leaves its host.

    \b
    Examples:
      chronos cluster invite n4=10.0.0.4
      chronos cluster invite n4=10.0.0.4 --for 10m --address 10.0.0.1:7440
    """
    import asyncio

    from chronos.server.founding.folders import Grant, Joining
    from chronos.timing.clock import SystemChance, SystemClock

    with _errors():
        seconds = _lasting(lasting)
        joining = Joining(node, out, _checked(data_dir), without, keys_from)
        clock, chance = SystemClock(), SystemChance()
        name = asyncio.run(_invited(Grant(joining, clock, chance), address, seconds, output, clock, chance))
        _tell(output, {"joined": name}, lambda told: f"{told['joined']} has joined, and can be added")


async def _invited(grant: Any, address: str | None, seconds: float, output: str, clock: Any, chance: Any) -> str:
    from datetime import timedelta

    from chronos.cluster.peers.roster import Address
    from chronos.server.config import split_address
    from chronos.server.founding.inviting import Invitation, own_address

    at = Address(*split_address(address, "address")) if address else own_address(grant.node.host)
    async with Invitation(grant, at, timedelta(seconds=seconds), clock, chance) as invitation:
        told = {"node": grant.node.name, "command": f"chronos cluster join {invitation.token.packed()}"}
        _tell(output, told, lambda plain: str(plain["command"]))
        accepted: str = await invitation.accepted(seconds)
        return accepted


def _lasting(text: str) -> float:
    from chronos.errors import Invalid
    from chronos.server.founding.inviting import HOURS_MAX
    from chronos.timing.duration import parse_duration

    seconds = parse_duration(text) / 1e6
    if not 1 <= seconds <= HOURS_MAX * 3_600:
        raise Invalid(f"--for: {text} is not between 1s and {HOURS_MAX}h.")
    return seconds


@cluster.command()
@click.argument("token")
@_OUT
@_OUTPUT
def join(token: str, out: Path, output: str) -> None:
    """Join with the word that `chronos cluster invite` has printed: make the folder that this node starts with.

    Runs on the new host. Who answers has to be the cluster's own authority, by the hash in the word.

    \b
    Examples:
      chronos cluster join chronos1.kqwxMC4w… --out /etc/chronos
    """
    import asyncio

    from chronos.server.founding.inviting import join as joined
    from chronos.server.founding.inviting import read_token

    with _errors():
        folder, granted = asyncio.run(joined(read_token(token), out))
        told = {"name": granted.node, "folder": str(folder), "add": granted.add}
        _tell(output, told, _joined_in_words)


@cluster.command()
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@_OUT
@_OUTPUT
def renew(nodes: tuple[str, ...], out: Path, output: str) -> None:
    """Give nodes a certificate for another year. Their keys stay; a node reads the new one without a restart.

    Runs where `chronos cluster init` ran. Bring each `node.crt` to its host afterwards.

    \b
    Examples:
      chronos cluster renew
      chronos cluster renew n1 --out ./prod
    """
    from chronos.server.founding.folders import renew as renewed
    from chronos.timing.clock import SystemChance, SystemClock

    with _errors():
        fresh = [_plain(each) for each in renewed(out, list(nodes), SystemClock(), SystemChance())]
        _tell(output, {"renewed": fresh}, _renewed_in_words)


@cluster.command()
@_OUT
@_OUTPUT
def show(out: Path, output: str) -> None:
    """Say which certificates there are, whose they are, and how long they last.

    DIR of --out is the folder in which `chronos cluster init` ran, or one node's. The exit code is 1 when one has
    expired, or does so within 30 days.

    \b
    Examples:
      chronos cluster show
      chronos cluster show --out /etc/chronos/n1 -o json
    """
    from chronos.server.founding.folders import certificates
    from chronos.timing.clock import SystemClock

    with _errors():
        there = certificates(out, SystemClock())
    _tell(output, {"certificates": [_plain(each) for each in there]}, _shown_in_words)
    if any(each.days_left < SOON_DAYS for each in there):
        sys.exit(1)


def _checked(data_dir: str) -> str:
    from chronos.errors import Invalid

    if not data_dir or not data_dir.isprintable() or '"' in data_dir or "\\" in data_dir:
        raise Invalid("--data-dir: this cannot be the name of a folder.")
    return data_dir


@contextmanager
def _errors() -> Iterator[None]:
    """Turn an error into its line and its exit code."""
    from chronos.cli.chronosctl.exits import code_of, line_of
    from chronos.errors import ChronosError

    try:
        yield
    except ChronosError as exc:
        click.echo(f"chronos: {line_of(exc)}", err=True)
        sys.exit(code_of(exc))


def _tell(output: str, plain: dict[str, Any], words: Any) -> None:
    from chronos.cli.chronosctl.output import as_json

    click.echo(as_json(plain) if output == "json" else words(plain))


def _plain(value: object) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(value)
    return found


def _init_in_words(told: dict[str, Any]) -> str:
    lines = [f"cluster {told['name']} ({told['uuid']})"]
    lines += [f"  {node['folder']}: {node['name']}, peers {node['peer']}, API {node['api']}" for node in told["nodes"]]
    lines.append(f"  {told['authority']}: the authority; keep it here, and keep it secret")
    if told["note"]:
        lines.append(f"note: {told['note']}")
    first = told["nodes"][0]["folder"]
    lines.append(f"bring each folder to its host, and start it there: chronos server --config {first}/chronos.yaml")
    lines.append("one more node, later: chronos cluster invite NAME=HOST, here")
    return "\n".join(lines)


def _adding(node: Any) -> str:
    from chronos.server.members.wording import adding

    return adding(node.name, node.peer, node.engine, node.api)


def _node_in_words(told: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"{told['folder']}: bring it to its host, and nowhere else",
            f"then, against a node that runs: {told['add']}",
            f"and on the new host: chronos server --config {told['folder']}/chronos.yaml",
        ]
    )


def _joined_in_words(told: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"{told['folder']}: what {told['name']} starts with; node.key and keys/ are secrets",
            f"now, against a node that runs: {told['add']}",
            f"and here: chronos server --config {told['folder']}/chronos.yaml",
        ]
    )


def _renewed_in_words(told: dict[str, Any]) -> str:
    return "\n".join(
        f"{each['file']}: {each['node']}, until {each['not_after']}; bring it to its host" for each in told["renewed"]
    )


def _shown_in_words(told: dict[str, Any]) -> str:
    lines = []
    for each in told["certificates"]:
        whose = each["node"] or "authority"
        left = f"{each['days_left']} days left" if each["days_left"] >= 0 else "EXPIRED"
        soon = ", renew it" if 0 <= each["days_left"] < SOON_DAYS else ""
        lines.append(f"{whose}: until {each['not_after']} ({left}{soon}) {each['file']}")
    return "\n".join(lines)
