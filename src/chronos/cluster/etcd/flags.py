"""How etcd is started: flags, which differ between releases, and an environment without surprises."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from msgspec import Struct

from chronos.cluster.etcd.timing import EngineTiming
from chronos.cluster.etcd.versions import Version
from chronos.errors import ConfigInvalid

SOCKET = "client:0"
"""The name of the client's socket: etcd 3.4 takes none that does not look like host:port."""
CLIENT_URL = f"unix://{SOCKET}"

_QUOTA_BYTES = 4 << 30
_SNAPSHOT_AFTER = 200
_CATCH_UP = 100
_MEMORY = "512MiB"

HostPort = tuple[str, int]


class PeerTls(Struct, frozen=True):
    """What engines prove themselves with to each other; the certificate serves both ends of a connection."""

    cert_file: Path
    key_file: Path
    ca_file: Path


class EngineSettings(Struct, frozen=True, kw_only=True):
    """What one member's engine is started with.

    Attributes:
        node: The member's name.
        cluster_uuid: Engines of other clusters are refused.
        data_dir: Chronos' data folder; the engine's own is in it.
        listen: Where engines of other members come in.
        members: Where the engine of every member is reached, this one's too; a member that joins names all that are
            in the cluster with it. Looked at on the first start only.
        tls: None on one machine only.
        is_joining: It was added to a cluster that runs; else all members begin together.
        is_address_checked: A peer must come from an address that is in its certificate. Where addresses are translated
            on the way, none does.
        quota_bytes: At which weight of its file the engine takes no more writes.
    """

    node: str
    cluster_uuid: str
    data_dir: Path
    listen: HostPort
    members: Mapping[str, HostPort]
    tls: PeerTls | None = None
    is_joining: bool = False
    is_address_checked: bool = True
    timing: EngineTiming = EngineTiming()
    quota_bytes: int = _QUOTA_BYTES

    @property
    def binds(self) -> HostPort:
        """The address the engine listens on: etcd takes no names, and a name may mean another address here."""
        return _bindable(self.listen[0]), self.listen[1]

    @property
    def folder(self) -> Path:
        """What belongs to the engine: its data, and in `run` its socket."""
        return self.data_dir / "engine"

    @property
    def engine_dir(self) -> Path:
        """The engine's own data folder."""
        return self.folder / self.cluster_uuid

    @property
    def run_dir(self) -> Path:
        """Where the engine runs and has its socket; for this user only."""
        return self.folder / "run"


def check_settings(settings: EngineSettings) -> None:
    """See to it that an engine may be started so.

    Raises:
        ConfigInvalid: It is no member itself, or others could reach it without showing a certificate.
    """
    if settings.node not in settings.members:
        raise ConfigInvalid(
            f"`{settings.node}` is none of the cluster's members: {', '.join(sorted(settings.members))}."
        )
    hosts = {settings.listen[0], *(host for host, _ in settings.members.values())}
    if settings.tls is None and (open_to := sorted(host for host in hosts if not _is_loopback(host))):
        raise ConfigInvalid(
            f"Engines on several machines need certificates (`cluster.tls`): whoever reached {open_to[0]} without one"
            " could run anything as this scheduler. `chronos cluster init` writes them."
        )


def arguments(settings: EngineSettings, version: Version) -> tuple[list[str], list[str]]:
    """Return the flags that the engine needs, and those that it can do without when it does not know them."""
    return [*_identity(settings), *_peers(settings), *_manners(settings)], _by_version(settings, version)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the engine's environment: an `ETCD_NAME` in somebody's shell would keep it from starting."""
    kept = {name: environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in environ}
    return {**kept, "GOMEMLIMIT": _MEMORY, "GOGC": "50", "GOTRACEBACK": "single"}


def url(address: HostPort, tls: PeerTls | None) -> str:
    """Return where engines find each other."""
    host, port = address
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _identity(settings: EngineSettings) -> list[str]:
    own = url(settings.members[settings.node], settings.tls)
    return [
        f"--name={settings.node}",
        f"--data-dir={settings.engine_dir}",
        f"--listen-peer-urls={url(settings.binds, settings.tls)}",
        f"--initial-advertise-peer-urls={own}",
        f"--listen-client-urls={CLIENT_URL}",
        f"--advertise-client-urls={CLIENT_URL}",  # nobody else is served: who wants this member's data asks Chronos
        "--initial-cluster="
        + ",".join(f"{name}={url(at, settings.tls)}" for name, at in sorted(settings.members.items())),
        f"--initial-cluster-state={'existing' if settings.is_joining else 'new'}",
        f"--initial-cluster-token={settings.cluster_uuid}",
    ]


def _peers(settings: EngineSettings) -> list[str]:
    if settings.tls is None:
        return []
    return [
        f"--peer-cert-file={settings.tls.cert_file}",
        f"--peer-key-file={settings.tls.key_file}",
        f"--peer-trusted-ca-file={settings.tls.ca_file}",
        "--peer-client-cert-auth=true",
    ]


def _manners(settings: EngineSettings) -> list[str]:
    return [
        f"--heartbeat-interval={settings.timing.heartbeat_ms}",
        f"--election-timeout={settings.timing.election_ms}",
        "--pre-vote=true",  # 3.4 does not by itself: who comes back from a partition would depose the leader
        f"--snapshot-count={_SNAPSHOT_AFTER}",  # what lies between two snapshots is in memory, as big as its batches
        f"--quota-backend-bytes={settings.quota_bytes}",
        "--max-wals=5",
        "--logger=zap",
        "--log-outputs=stderr",
        "--log-level=warn",
    ]


def _by_version(settings: EngineSettings, version: Version) -> list[str]:
    old = version < Version(3, 6, 0)
    flags = []
    if version >= Version(3, 5, 0):
        flags.append(f"--{'experimental-' if old else ''}snapshot-catchup-entries={_CATCH_UP}")
    if not old:
        flags.append("--feature-gates=InitialCorruptCheck=true,CompactHashCheck=true")
    else:
        flags.append("--experimental-initial-corrupt-check=true")
    if Version(3, 5, 5) <= version and old:
        flags.append("--experimental-compact-hash-check-enabled=true")
    if settings.tls is not None and not settings.is_address_checked:
        flags.append(f"--{'experimental-' if old else ''}peer-skip-client-san-verification=true")
    return flags


def _bindable(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        return "127.0.0.1" if _is_loopback(host) else "0.0.0.0"  # noqa: S104  # who comes shows a certificate


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
