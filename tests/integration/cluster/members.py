"""Members of a cluster with certificates of their own, on loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from chronos.cluster.certificates import Pair, issue, make_authority
from chronos.cluster.peers.net import PeerNet
from chronos.cluster.peers.roster import Address, Identity, Roster
from chronos.cluster.peers.tls import TlsFiles
from chronos.timing.clock import SystemChance, SystemClock, utc

CLUSTER = "6e6f6465-0000-4000-8000-000000000001"
PATIENCE_S = 20.0


def now() -> datetime:
    return utc(SystemClock().time())


@dataclass
class Pki:
    """An authority, and files of certificates it has signed."""

    folder: Path
    authority: Pair = field(default_factory=lambda: make_authority("test", now=now(), chance=SystemChance()))

    def files(
        self, node: str, *, cluster: str = CLUSTER, at: datetime | None = None, under: str = "", by: Pair | None = None
    ) -> TlsFiles:
        """Return the files of a node; `by` is who signs it, when that is not the authority everybody trusts."""
        pair = issue(by or self.authority, cluster, node, ["127.0.0.1"], now=at or now(), chance=SystemChance())
        place = self.folder / (under or node)
        place.mkdir(exist_ok=True)
        found = TlsFiles(place / "node.crt", place / "node.key", place / "ca.crt")
        found.certificate.write_bytes(pair.certificate)
        found.key.write_bytes(pair.key)
        found.key.chmod(0o600)
        found.authority.write_bytes(self.authority.certificate)
        return found


def expired() -> datetime:
    """Return when a certificate was made that is over now."""
    return now() - timedelta(days=400)


@asynccontextmanager
async def member(pki: Pki, node: str, roster: Roster) -> AsyncIterator[PeerNet]:
    """Run a member that listens on a free port, and enter it in the roster."""
    files = pki.files(node) if not (pki.folder / node).exists() else tls_of(pki, node)
    net = PeerNet(Identity(CLUSTER, node), Address("127.0.0.1", 0), roster, files, SystemClock(), SystemChance())
    async with net:
        others = {name: at for name in roster.names() if name != node and (at := roster.address_of(name))}
        roster.replace({**others, node: net.address})
        yield net


def tls_of(pki: Pki, node: str) -> TlsFiles:
    place = pki.folder / node
    return TlsFiles(place / "node.crt", place / "node.key", place / "ca.crt")


@asynccontextmanager
async def two(pki: Pki) -> AsyncIterator[tuple[PeerNet, PeerNet]]:
    """Run two members that know each other."""
    roster = nobody()
    async with member(pki, "n1", roster) as one, member(pki, "n2", roster) as other:
        yield one, other


def nobody() -> Roster:
    """Return a roster in which everybody stands who is going to be run, nowhere yet."""
    return Roster({name: Address("127.0.0.1", 1) for name in ("n1", "n2", "n3")})


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # what is waited for lies behind a socket, and tells nobody
            await asyncio.sleep(0.01)


def client_context(files: TlsFiles | None, authority: Path) -> ssl.SSLContext:
    """Return what a hostile client calls with: its own certificate, or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority)
    if files is not None:
        context.load_cert_chain(files.certificate, files.key)
    return context
