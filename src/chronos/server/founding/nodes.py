"""Names and addresses of a cluster's nodes, as they are typed, and the configuration that each of them gets."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from chronos.cluster.peers.roster import Address
from chronos.errors import Invalid, NotFound

PEER_PORT, API_PORT = 7443, 8080
_APART = 10
"""Between the ports of nodes that share a host."""

NODES_MAX = 9
AUTHORITY = "ca"
"""The authority's folder; no node can have its name."""

NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


class Node(Struct, frozen=True):
    """A node that is to be: its name, its host, and the ports it takes there."""

    name: str
    host: str
    peer_port: int
    engine_port: int
    api_port: int

    @property
    def peer(self) -> Address:
        return Address(self.host, self.peer_port)

    @property
    def engine(self) -> Address:
        return Address(self.host, self.engine_port)

    @property
    def api(self) -> str:
        return f"http://{Address(self.host, self.api_port)}"


class Plan(Struct, frozen=True):
    """A cluster that is to be, or is."""

    name: str
    uuid: str
    nodes: list[Node]


def read_name(text: str) -> str:
    """Return the name of a cluster.

    Raises:
        Invalid: It cannot be one.
    """
    if NODE_NAME.fullmatch(text) is None:
        raise Invalid(f"--name: `{text[:80]}` cannot be a name; letters, digits, `.`, `_` and `-`, at most 63.")
    return text


def read_nodes(texts: Sequence[str], known: Sequence[Node] = ()) -> list[Node]:
    """Return nodes written as `NAME=HOST` or `NAME=HOST:PORT`.

    Nodes on one host that name no port are moved apart: 7443, 7453 and so on, and their API from 8080 on.

    Args:
        known: Those there are already.

    Raises:
        Invalid: One cannot be a node, or two are the same.
    """
    found = list(known)
    for text in texts:
        found.append(_node(text, found))
    if len(found) > NODES_MAX:
        raise Invalid(
            f"--node: {len(found)} nodes are too many, as most have to agree; at most {NODES_MAX}. Those that belong to"
            " the cluster no more are left out with --without."
        )
    if not texts:
        raise Invalid("--node: name at least one node, like `--node n1=10.0.0.1`; three survive the loss of one.")
    _check_apart(found)
    return found[len(known) :]


def _node(text: str, before: Sequence[Node]) -> Node:
    name, equals, at = text.partition("=")
    if not equals or NODE_NAME.fullmatch(name) is None:
        raise Invalid(f"--node: `{text[:120]}` is not NAME=HOST or NAME=HOST:PORT, like `n1=10.0.0.1`.")
    if name == AUTHORITY:
        raise Invalid(f"--node: a node cannot be called `{AUTHORITY}`; the authority's folder is.")
    host, port = _split(at, text)
    beside = sum(1 for node in before if node.host == host)
    peer_port = port or PEER_PORT + _APART * beside
    return Node(name, host, peer_port, peer_port + 1, API_PORT + beside)


def _split(at: str, text: str) -> tuple[str, int]:
    """Return host and port; 0 for none."""
    match = re.fullmatch(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]{1,5}))?", at)
    bare = match is None and at.count(":") > 1
    host = at if bare else (match["six"] or match["host"]) if match else ""
    port = int(match["port"]) if match and match["port"] else 0
    if not (_is_address(host) or (not bare and _is_name(host))):
        raise Invalid(f"--node: `{text[:120]}`: `{at[:100]}` is neither a host name nor an IP address.")
    if match and match["port"] and not 1 <= port <= 65_534:
        raise Invalid(f"--node: `{text[:120]}`: {match['port']} is no port; 1 to 65534.")
    return host.lower(), port


def _is_address(host: str) -> bool:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    if found.is_unspecified or found.is_multicast:
        raise Invalid(f"--node: {host} is no address at which the other nodes reach one.")
    return True


def _is_name(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    return 0 < len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def _check_apart(nodes: Sequence[Node]) -> None:
    names = Counter(node.name.lower() for node in nodes)
    if twice := [name for name, times in names.items() if times > 1]:
        raise Invalid(f"--node: there are two nodes called `{twice[0]}`.")
    taken: dict[Address, str] = {}
    for node in nodes:
        for address in (node.peer, node.engine, Address(node.host, node.api_port)):
            if other := taken.get(address):
                raise Invalid(f"--node: `{node.name}` and `{other}` would both take {address}; set them 10 apart.")
            taken[address] = node.name


def advice(nodes: Sequence[Node]) -> str:
    """Return what is worth knowing of so many nodes; empty when it is a good number."""
    count = len(nodes)
    if count == 1:
        return "one node alone survives no loss; with three, one may be lost"
    if count % 2 == 0:
        return f"{count} nodes survive the loss of {(count - 1) // 2}, as {count - 1} do; an odd number is better"
    return ""


def grown(plan: Plan, text: str, without: Sequence[str] = ()) -> tuple[Plan, Node]:
    """Return the plan with one more node, which is written `NAME=HOST[:PORT]`, and that node.

    A node of this name that was planned before is replaced: its host was lost, or is another one.

    Args:
        without: Nodes that belong to the cluster no more.

    Raises:
        Invalid: It cannot be a node of this cluster.
        NotFound: One of `without` was none.
    """
    names = [node.name for node in plan.nodes]
    if unknown := [name for name in without if name not in names]:
        raise NotFound(f"--without: `{unknown[0]}` is no node of the cluster `{plan.name}`: {', '.join(names)}.")
    name = text.partition("=")[0]
    others = [node for node in plan.nodes if node.name != name and node.name not in without]
    (node,) = read_nodes([text], others)
    return Plan(plan.name, plan.uuid, [*others, node]), node


def configuration(plan: Plan, node: Node, data_dir: Path, *, joins: bool = False) -> str:
    """Return the node's `chronos.yaml`.

    Args:
        joins: The cluster runs already.
    """
    members = "\n".join(
        f'    {one.name}: {{peer: "{one.peer}", engine: "{one.engine}", api: "{one.api}"}}' for one in plan.nodes
    )
    joining = "  joins: true  # waits until it is added: `chronosctl cluster add`\n" if joins else ""
    return f"""\
# Node `{node.name}` of the cluster `{plan.name}`, made by `chronos cluster init`.
# Bring this folder to {node.host}, and start it there from the folder above it:
#
#   chronos server --config {node.name}/chronos.yaml
#
# node.key and keys/ are secrets; only the user that runs the server may read them.
cluster:
  name: "{plan.name}"
  uuid: {plan.uuid}
  node_id: "{node.name}"
  data_dir: "{data_dir}"
  peer_address: "{_listening(node.host, node.peer_port)}"
  members:
{members}
{joining}  # Where this file lies:
  keys_dir: keys
  tls:
    cert_file: node.crt
    key_file: node.key
    ca_file: ca.crt
server:
  http:
    address: "{_listening(node.host, node.api_port)}"
  allowed_hosts: ["{node.host}"]
"""


def _listening(host: str, port: int) -> Address:
    return Address(host, port).to_listen()
