"""A cluster's folders: written whole or not at all, renewed in place, and read to see what there is.

OUT/
├── ca/     ca.crt, ca.key, cluster.json, keys/: stays where it was made
├── n1/     chronos.yaml, node.crt, node.key, ca.crt, keys/: goes to the host of n1
└── n2/     …
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
from msgspec import Struct

from chronos.cluster.certificates import (
    CertificateUnusable,
    Pair,
    Shown,
    belongs_together,
    issue,
    issue_for,
    make_authority,
    read_certificate,
    show,
)
from chronos.errors import Conflict, Invalid, NotFound
from chronos.server.founding.keys import ADMIN_FILE, SHARED, make_keys, read_keys, take_keys
from chronos.server.founding.nodes import AUTHORITY, NODE_NAME, Node, Plan, configuration, grown
from chronos.server.members.wording import adding
from chronos.store.sqlitefile import translated
from chronos.timing.clock import Chance, Clock, utc
from chronos.wholefile import sync_folder

RECORD = "cluster.json"
ISSUED = "issued"
"""Beside the authority: the certificates of nodes that have joined, and whose keys never were here."""

_SECRET = {"node.key", "ca.key"}


class FolderThere(Conflict):
    """A folder that is to be made is there already."""


class Wanted(Struct, frozen=True):
    """What to found.

    Attributes:
        out: Where the folders are made.
        data_dir: Where the nodes keep their data; `{node}` in it is the node's name.
        admin: A new key for the administrator.
        keys_from: The data folder whose keys the cluster goes on with; None makes new ones.
    """

    name: str
    nodes: list[Node]
    out: Path
    data_dir: str
    admin: str
    keys_from: Path | None = None


class Certificate(Struct, frozen=True, kw_only=True):
    """A certificate of a cluster, as it is shown.

    Attributes:
        days_left: Whole days; negative when it has expired.
    """

    node: str
    file: str
    hosts: list[str]
    not_before: str
    not_after: str
    days_left: int
    fingerprint: str


def found(wanted: Wanted, clock: Clock, chance: Chance) -> Plan:
    """Make the folders of a new cluster, and return what it is.

    Raises:
        FolderThere: One of them is there; nothing was changed.
        Invalid: There is no place for them.
        NotFound: `keys_from` is no data folder.
    """
    check_free(wanted.out, [AUTHORITY, *(node.name for node in wanted.nodes)])
    plan = Plan(wanted.name, _uuid(chance), wanted.nodes)
    keys = _keys(wanted, chance)
    authority = make_authority(plan.name, now=utc(clock.time()), chance=chance)
    files = {
        f"{AUTHORITY}/ca.crt": authority.certificate,
        f"{AUTHORITY}/ca.key": authority.key,
        f"{AUTHORITY}/{RECORD}": _record_of(plan),
        **{f"{AUTHORITY}/keys/{name}": text.encode() for name, text in keys.items()},
    }
    for node in plan.nodes:
        files |= _of_node(plan, node, authority, wanted.data_dir, keys, clock, chance)
    _write_all(wanted.out, files, plan.name)
    return plan


class Joining(Struct, frozen=True):
    """One more node for a cluster that there is.

    Attributes:
        node: `NAME=HOST[:PORT]`.
        out: Where the cluster was founded.
        data_dir: Where the node keeps its data; `{node}` in it is its name.
        without: Nodes that belong to the cluster no more.
        keys_from: The data folder of a member, where the cluster's keys are not beside the authority.
    """

    node: str
    out: Path
    data_dir: str
    without: tuple[str, ...] = ()
    keys_from: Path | None = None


def one_more(joining: Joining, clock: Clock, chance: Chance) -> Node:
    """Make the folder of one more node beside those of the others, and return the node.

    Raises:
        FolderThere: It is there; nothing was changed.
        Invalid: It cannot be a node of this cluster.
        NotFound: There is no authority here, or there are no keys.
        CertificateUnusable: The authority is damaged, or has expired.
    """
    out = joining.out
    authority = _authority_in(out)
    plan, node = grown(_plan_in(out), joining.node, joining.without)
    check_free(out, [node.name])
    files = _of_node(plan, node, authority, joining.data_dir, keys_in(joining), clock, chance, joins=True)
    _write_all(out, files, plan.name)
    _replace(out / AUTHORITY / RECORD, _record_of(plan))
    return node


def keys_in(joining: Joining) -> dict[str, str]:
    """Return the cluster's keys: beside the authority, else in the folder of a node, else where it is said.

    Raises:
        NotFound: They are in none of these.
    """
    if joining.keys_from is not None:
        return read_keys(joining.keys_from)
    for folder in (joining.out / AUTHORITY, *sorted(path.parent for path in joining.out.glob("*/keys"))):
        if (folder / "keys" / ADMIN_FILE).is_file():
            return read_keys(folder)
    raise NotFound(
        f"The cluster's keys are not in {joining.out}: all nodes share them. Name the data folder of a member with"
        " --keys-from."
    )


class Granted(Struct, frozen=True):
    """What a node that joins is given: all that its folder holds, but the key that it has made itself."""

    node: str
    cluster: str
    certificate: bytes
    authority: bytes
    configuration: str
    keys: dict[str, str]
    add: str


class Grant:
    """What one node may be given, ready before it asks.

    Raises:
        Invalid: It cannot be a node of this cluster.
        NotFound: There is no authority here, or there are no keys.
    """

    def __init__(self, joining: Joining, clock: Clock, chance: Chance) -> None:
        self._out, self._clock, self._chance = joining.out, clock, chance
        self.authority = _authority_in(joining.out)
        self.plan, self.node = grown(_plan_in(joining.out), joining.node, joining.without)
        self._data = Path(joining.data_dir.replace("{node}", self.node.name))
        self._keys = keys_in(joining)

    def give(self, asked: bytes) -> Granted:
        """Sign what was asked for, note it beside the authority, and return all that the node starts with.

        Raises:
            CertificateUnusable: It is no request for a certificate.
        """
        plan, node, now = self.plan, self.node, utc(self._clock.time())
        hosts = [node.host]
        certificate = issue_for(self.authority, plan.uuid, node.name, hosts, asked, now=now, chance=self._chance)
        issued = self._out / AUTHORITY / ISSUED / f"{node.name}.crt"
        issued.parent.mkdir(mode=0o700, exist_ok=True)
        _replace(issued, certificate)
        _replace(self._out / AUTHORITY / RECORD, _record_of(plan))
        configured = configuration(plan, node, self._data, joins=True)
        command = adding(node.name, node.peer, node.engine, node.api)
        authority = self.authority.certificate
        return Granted(node.name, plan.uuid, certificate, authority, configured, self._keys, command)


def take(granted: Granted, key: bytes, out: Path) -> Path:
    """Write the folder of a node that joins, and return it.

    Raises:
        FolderThere: It is there; nothing was changed.
        CertificateUnusable: What was given does not fit together, or is no node's.
    """
    shown = show(granted.certificate)
    name = granted.node
    fits = belongs_together(granted.certificate, key, granted.authority)
    if not fits or (shown.node, shown.cluster) != (name, granted.cluster) or NODE_NAME.fullmatch(name) is None:
        raise CertificateUnusable("The certificate that was given is not the one that was asked for.")
    if set(granted.keys) != {*SHARED, ADMIN_FILE}:
        raise CertificateUnusable("The keys that were given are not those of a cluster.")
    check_free(out, [name])
    files = {
        f"{name}/chronos.yaml": granted.configuration.encode(),
        f"{name}/node.crt": granted.certificate,
        f"{name}/node.key": key,
        f"{name}/ca.crt": granted.authority,
        **{f"{name}/keys/{kept}": text.encode() for kept, text in granted.keys.items()},
    }
    _write_all(out, files, name)
    return out / name


def renew(out: Path, nodes: list[str], clock: Clock, chance: Chance) -> list[Certificate]:
    """Give nodes a certificate for another year, in their folders here; their keys stay. Returns what there is now.

    Args:
        nodes: Names; none means all.

    Raises:
        NotFound: There is no authority here, or no such node.
        CertificateUnusable: The authority is damaged, or has expired.
    """
    plan, authority = _plan_in(out), _authority_in(out)
    by_name = {node.name: node for node in plan.nodes}
    if unknown := [name for name in nodes if name not in by_name]:
        raise NotFound(f"`{unknown[0]}` is no node of the cluster `{plan.name}`: {', '.join(by_name)}.")
    chosen = [by_name[name] for name in nodes] or plan.nodes
    fresh = [_renewed(out, plan, authority, node, clock, chance) for node in chosen]
    for path, certificate in fresh:  # all were made before the first is replaced
        _replace(path, certificate)
    return [_shown(path, clock) for path, _ in fresh]


def _renewed(out: Path, plan: Plan, authority: Pair, node: Node, clock: Clock, chance: Chance) -> tuple[Path, bytes]:
    """Return a certificate for another year, and where it belongs: a node that has joined keeps its key elsewhere."""
    now, issued = utc(clock.time()), out / AUTHORITY / ISSUED / f"{node.name}.crt"
    if issued.is_file() and not (out / node.name / "node.key").exists():
        fresh = issue_for(authority, plan.uuid, node.name, [node.host], _bytes(issued), now=now, chance=chance)
        return issued, fresh
    key = _bytes(out / node.name / "node.key")
    pair = issue(authority, plan.uuid, node.name, [node.host], now=now, chance=chance, key=key)
    return out / node.name / "node.crt", pair.certificate


def certificates(out: Path, clock: Clock) -> list[Certificate]:
    """Return every certificate below a folder: the authority's and those of the nodes, or those of one node's folder.

    Raises:
        NotFound: There are none.
        CertificateUnusable: One cannot be read.
    """
    paths = [out / AUTHORITY / "ca.crt", *sorted(out.glob("*/node.crt")), *sorted(out.glob(f"{AUTHORITY}/{ISSUED}/*"))]
    if not any(path.exists() for path in paths):
        paths = [out / "ca.crt", out / "node.crt"]
    there = [path for path in paths if path.exists()]
    if not there:
        raise NotFound(f"There are no certificates in {out}; name the folder that `chronos cluster init` has made.")
    return [_shown(path, clock) for path in there]


def _of_node(
    plan: Plan,
    node: Node,
    authority: Pair,
    data_dir: str,
    keys: dict[str, str],
    clock: Clock,
    chance: Chance,
    *,
    joins: bool = False,
) -> dict[str, bytes]:
    pair = issue(authority, plan.uuid, node.name, [node.host], now=utc(clock.time()), chance=chance)
    data = Path(data_dir.replace("{node}", node.name))
    return {
        f"{node.name}/chronos.yaml": configuration(plan, node, data, joins=joins).encode(),
        f"{node.name}/node.crt": pair.certificate,
        f"{node.name}/node.key": pair.key,
        f"{node.name}/ca.crt": authority.certificate,
        **{f"{node.name}/keys/{name}": text.encode() for name, text in keys.items()},
    }


def _keys(wanted: Wanted, chance: Chance) -> dict[str, str]:
    if wanted.keys_from is None:
        return make_keys(wanted.admin, chance)
    return take_keys(wanted.keys_from, wanted.admin, chance)


def _uuid(chance: Chance) -> str:
    """Return a random UUID (RFC 9562, version 4)."""
    raw = bytearray(chance.bytes(16))
    raw[6], raw[8] = raw[6] & 0x0F | 0x40, raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def check_free(out: Path, names: list[str]) -> None:
    """See to it that folders of these names can be made. Raises `Invalid`, or `FolderThere`."""
    if not out.is_dir():
        raise Invalid(f"--out: {out} is no folder; make it first.", field="out")
    taken = [name for name in names if os.path.lexists(out / name)]
    if taken:
        raise FolderThere(f"{out / taken[0]} is there already; move it aside, or give another --out.")


def _write_all(out: Path, files: dict[str, bytes], name: str) -> None:
    """Write the files into a folder beside their places, then give each folder its name."""
    yard = out / f".{name}.founding"
    placed: list[Path] = []
    with translated(yard):
        shutil.rmtree(yard, ignore_errors=True)  # left by somebody who was killed
        yard.mkdir(mode=0o700)
        try:
            for path, content in files.items():
                _write(yard / path, content)
            for folder in sorted(yard.iterdir(), key=lambda path: path.name == AUTHORITY):
                folder.rename(out / folder.name)
                placed.append(out / folder.name)
            sync_folder(out)
        except OSError:
            for folder in placed:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            shutil.rmtree(yard, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_secret = path.name in _SECRET or path.parent.name == "keys"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600 if is_secret else 0o644)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.new")
    with translated(path):
        part.unlink(missing_ok=True)
        _write(part, content)
        part.replace(path)
        sync_folder(path.parent)


def _record_of(plan: Plan) -> bytes:
    return msgspec.json.format(msgspec.json.encode(plan)) + b"\n"


def _plan_in(out: Path) -> Plan:
    path = out / AUTHORITY / RECORD
    try:
        return msgspec.json.decode(_bytes(path), type=Plan)
    except msgspec.MsgspecError as exc:
        raise CertificateUnusable(f"{path} is damaged: {exc}.") from exc


def _authority_in(out: Path) -> Pair:
    return Pair(_bytes(out / AUTHORITY / "ca.crt"), _bytes(out / AUTHORITY / "ca.key"))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise NotFound(
            f"{path} cannot be read ({(exc.strerror or '').lower()}); name the folder where `chronos cluster init` ran."
        ) from exc


def _shown(path: Path, clock: Clock) -> Certificate:
    said: Shown = read_certificate(path)
    return Certificate(
        node=said.node,
        file=str(path),
        hosts=said.hosts,
        not_before=f"{said.not_before:%Y-%m-%dT%H:%M:%SZ}",
        not_after=f"{said.not_after:%Y-%m-%dT%H:%M:%SZ}",
        days_left=int((said.not_after.timestamp() - clock.time()) // 86_400),
        fingerprint=said.fingerprint,
    )
