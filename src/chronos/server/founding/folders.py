"""A cluster's folders: written whole or not at all, renewed in place, and read to see what there is.

OUT/
├── ca/     ca.crt, ca.key, cluster.json: stays where it was made
├── n1/     chronos.yaml, node.crt, node.key, ca.crt, keys/: goes to the host of n1
└── n2/     …
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
from msgspec import Struct

from chronos.cluster.certificates import CertificateUnusable, Pair, Shown, issue, make_authority, read_certificate
from chronos.errors import Conflict, Invalid, NotFound
from chronos.server.backup.saving import sync_folder
from chronos.server.founding.keys import make_keys, take_keys
from chronos.server.founding.nodes import AUTHORITY, Node, Plan, configuration
from chronos.store.sqlitefile import translated
from chronos.timing.clock import Chance, Clock, utc

RECORD = "cluster.json"
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
    _check_free(wanted.out, [AUTHORITY, *(node.name for node in wanted.nodes)])
    plan = Plan(wanted.name, _uuid(chance), wanted.nodes)
    keys = _keys(wanted, chance)
    authority = make_authority(plan.name, now=utc(clock.time()), chance=chance)
    files = {
        f"{AUTHORITY}/ca.crt": authority.certificate,
        f"{AUTHORITY}/ca.key": authority.key,
        f"{AUTHORITY}/{RECORD}": msgspec.json.format(msgspec.json.encode(plan)) + b"\n",
    }
    for node in plan.nodes:
        files |= _of_node(plan, node, authority, wanted.data_dir, keys, clock, chance)
    _write_all(wanted.out, files, plan.name)
    return plan


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
    fresh = []
    for node in chosen:
        key = _bytes(out / node.name / "node.key")
        pair = issue(authority, plan.uuid, node.name, [node.host], now=utc(clock.time()), chance=chance, key=key)
        fresh.append((out / node.name / "node.crt", pair.certificate))
    for path, certificate in fresh:  # all were made before the first is replaced
        _replace(path, certificate)
    return [_shown(path, clock) for path, _ in fresh]


def certificates(out: Path, clock: Clock) -> list[Certificate]:
    """Return every certificate below a folder: the authority's and those of the nodes, or those of one node's folder.

    Raises:
        NotFound: There are none.
        CertificateUnusable: One cannot be read.
    """
    paths = [out / AUTHORITY / "ca.crt", *sorted(out.glob("*/node.crt"))]
    if not any(path.exists() for path in paths):
        paths = [out / "ca.crt", out / "node.crt"]
    there = [path for path in paths if path.exists()]
    if not there:
        raise NotFound(f"There are no certificates in {out}; name the folder that `chronos cluster init` has made.")
    return [_shown(path, clock) for path in there]


def _of_node(
    plan: Plan, node: Node, authority: Pair, data_dir: str, keys: dict[str, str], clock: Clock, chance: Chance
) -> dict[str, bytes]:
    pair = issue(authority, plan.uuid, node.name, [node.host], now=utc(clock.time()), chance=chance)
    data = Path(data_dir.replace("{node}", node.name))
    return {
        f"{node.name}/chronos.yaml": configuration(plan, node, data).encode(),
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


def _check_free(out: Path, names: list[str]) -> None:
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
