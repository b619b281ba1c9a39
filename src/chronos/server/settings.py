"""The configuration's shape and defaults: every section but those that belong to features.

Feature sections (`auth`, `metrics`, `notify`, …) are described beside each feature; `manifest.py` knows which.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field
from msgspec.structs import fields

from chronos.model.job import MissedRunPolicy, OnIsolation, RetryPolicy
from chronos.model.limits import DurationText, Namespace
from chronos.model.secret import STARS, Credential

Port = Annotated[int, Meta(ge=0, le=65_535)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
EnvName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Path = Annotated[str, Meta(min_length=1, max_length=4_096)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Uuid = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
EngineAt = Annotated[str, Meta(pattern=r"^(auto|etcd://[A-Za-z0-9._:,\[\]-]{1,1000})$")]
PublicUrl = Annotated[str, Meta(pattern=r"^https?://[A-Za-z0-9.\[\]:-]{1,253}(/[A-Za-z0-9._~/-]{0,200})?$")]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the configuration file."""


class Tls(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A listener's certificate; TLS 1.2 and newer."""

    enabled: bool = False
    cert_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None


class Raft(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of files written for the original. In a cluster `election_timeout` is the engine's; one node needs none.

    Attributes:
        election_timeout: How long the engine waits for its leader before it elects another.
    """

    address: str = "127.0.0.1:7000"
    peers: list[str] = field(default_factory=list)
    heartbeat_timeout: DurationText = "500ms"
    election_timeout: DurationText = "500ms"
    snapshot_interval: DurationText = "30s"
    snapshot_threshold: Count = 1_000
    bootstrap: bool = False
    tls: Tls = Tls()


class Member(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a member of the cluster is reached.

    Attributes:
        peer: `host:port` of its peer listener.
        engine: `host:port` at which its engine speaks with the other engines; None where `cluster.engine` is elsewhere.
        api: Base address of its API, for clients that have to go there.
    """

    peer: str
    engine: str | None = None
    api: PublicUrl | None = None


class ClusterTls(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What members prove themselves with. Relative paths begin where the configuration file lies."""

    cert_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None


class Cluster(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this node is, where it keeps what it knows, and with whom it forms a cluster; without members, with nobody.

    Attributes:
        log_held_bytes: How much the log may weigh for the sake of the last backup, from which it goes on, and of
            features that have not handled all of it; every start reads it whole.
        members: By name; `node_id` is one of them. Whoever joined later is known from the log.
        peer_address: Where the peer listener listens; None takes the member's own `peer`.
        engine: `auto` runs one beside this node, `etcd://host:port,…` uses one that is there.
        engine_binary: The engine's program; None looks for it.
        keys_dir: Keys that all members share; a member's first start copies them into its data folder.
        joins: This node was made for a cluster that runs: its first start waits until it is added, and founds none.
    """

    node_id: Name = "chronos-1"
    data_dir: Path = "./data"
    log_held_bytes: Annotated[int, Meta(ge=0, le=1 << 36)] = 128 << 20
    name: Name | None = None
    uuid: Uuid | None = None
    members: Annotated[dict[Name, Member], Meta(max_length=9)] = field(default_factory=dict)
    peer_address: str | None = None
    engine: EngineAt = "auto"
    engine_binary: Path | None = None
    keys_dir: Path | None = None
    joins: bool = False
    tls: ClusterTls = ClusterTls()
    raft: Raft = Raft()


class Http(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The REST listener.

    Attributes:
        address: `host:port`; port 0 takes a free one. Anything but a loopback host needs authentication.
        read_timeout: How long a request may take to arrive; its headers at most 10 s of it.
        write_timeout: How long a client may leave an answer untaken that waits for it.
        idle_timeout: How long a connection is kept between two requests.
        max_header_bytes: Names and values of a request's headers together.
        max_body_bytes: A request's body; a batch of jobs has a bound of its own.
    """

    address: str = "127.0.0.1:8080"
    read_timeout: DurationText = "30s"
    write_timeout: DurationText = "30s"
    idle_timeout: DurationText = "30s"
    max_header_bytes: Annotated[int, Meta(ge=1_024, le=1 << 20)] = 32 * 1024
    max_body_bytes: Annotated[int, Meta(ge=1_024, le=64 << 20)] = 1 << 20
    tls: Tls = Tls()


class Grpc(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The gRPC listener's address."""

    address: str | None = None


class Server(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The listeners.

    Attributes:
        public_url: Under which base address targets and people reach the server, like `https://chronos.example.org`;
            its name is an allowed host. None means the listener's own.
        allowed_hosts: Names under which clients may reach the server, besides localhost and its own address.
        processes: API processes besides the main one; 0 lets the main one answer, as every member of a cluster does.
        drain: How long running attempts may take after SIGTERM.
    """

    http: Http = Http()
    grpc: Grpc = Grpc()
    public_url: PublicUrl | None = None
    allowed_hosts: Annotated[list[str], Meta(max_length=100)] = field(default_factory=list)
    processes: Annotated[int, Meta(ge=0, le=64)] = 0
    drain: DurationText = "30s"


class Scheduler(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What jobs inherit that do not say otherwise."""

    tick_interval: DurationText | None = None
    execution_timeout: DurationText = "5m"
    default_retry_policy: RetryPolicy = RetryPolicy()
    missed_run_policy: MissedRunPolicy = MissedRunPolicy.EXECUTE_ONE
    claim_lead: DurationText = "250ms"
    on_isolation: OnIsolation = OnIsolation.STOP


class DispatcherHttp(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Outgoing HTTP.

    Attributes:
        idle_conn_timeout: Short on purpose: most servers close after five seconds or more, and a connection that
            closes under a request means sending it twice.
        signing_secret: Signs the requests of every job that has no `signing_secret` of its own; written alike.
    """

    timeout: DurationText = "30s"
    connect_timeout: DurationText = "5s"
    max_idle_conns: Count = 1_024
    max_conns_per_host: Count = 1_024
    idle_conn_timeout: DurationText = "4s"
    tls: Tls = Tls()
    signing_secret: Credential | None = None

    def __repr__(self) -> str:
        shown = {f.name: getattr(self, f.name) for f in fields(self)}
        shown["signing_secret"] = STARS if self.signing_secret else None
        return f"DispatcherHttp({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class DispatcherConcurrency(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much may run at once on this node."""

    max_concurrent_jobs: Count = 10_000
    per_job_limit: Count | None = None
    per_host_limit: Count = 1_000


class CircuitBreaker(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a host that keeps failing is left alone, and for how long."""

    failure_threshold: Count = 5
    success_threshold: Count = 2
    open_timeout: DurationText = "30s"


class Egress(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which addresses targets may have. Link-local, metadata, multicast and our own ports are never allowed.

    Attributes:
        policy: Which addresses may be called; None means what `allow_private` says.
        allow_private: Whether private networks may be called.
        allow_loopback: Whether loopback may; None means while we listen on loopback only.
        allow: CIDRs that are allowed besides.
        nat64: Prefixes of this network's own NAT64; what lies in them is vetted as what it carries.
    """

    policy: Literal["open", "private-ok", "public-only"] | None = None
    allow_private: bool = True
    allow_loopback: bool | None = None
    allow: Annotated[list[str], Meta(max_length=1_000)] = field(default_factory=list)
    nat64: Annotated[list[str], Meta(max_length=16)] = field(default_factory=list)


class DispatcherProcess(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Programs as targets: off unless somebody turns them on.

    Attributes:
        allow_same_user: Lets them run as the server's own user, who can read the server's keys and state.
        env_allow: Variables of the server's environment that a target may ask to be passed on.
    """

    enabled: bool = False
    allow_same_user: bool = False
    env_allow: Annotated[list[EnvName], Meta(max_length=100)] = field(
        default_factory=lambda: ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"]
    )


class Dispatcher(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How executions leave.

    Attributes:
        workers: Processes that deliver; 0 delivers from the main process, `auto` takes the spare cores.
    """

    http: DispatcherHttp = DispatcherHttp()
    concurrency: DispatcherConcurrency = DispatcherConcurrency()
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    egress: Egress = Egress()
    process: DispatcherProcess = DispatcherProcess()
    workers: Annotated[int, Meta(ge=0, le=64)] | Literal["auto"] = "auto"


class NamespaceHistory(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a namespace's past is kept; what is left out is as for all.

    Attributes:
        retention: At least this long; kept is the next of 1, 7, 30, 90 and 365 days.
        max_count: At least this many executions of all its jobs together.
    """

    retention: DurationText | None = None
    max_count: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None


class History(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of what happened is kept; a job's `history` goes first, then its namespace.

    Attributes:
        retention: How long.
        max_count: At least this many executions of each job; None keeps any number.
    """

    retention: DurationText = "30d"
    max_count: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    namespaces: Annotated[dict[Namespace, NamespaceHistory], Meta(max_length=1_000)] = field(default_factory=dict)


class Logging(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the log goes, and how it looks. `auto` is text on a terminal, JSON elsewhere.

    Attributes:
        executions: Whose end is a line of the log: every execution's (at most 20 lines a second), or only of
            those that failed or were missed. With `--demo` it is `all`.
    """

    level: Literal["debug", "info", "warn", "warning", "error"] = "info"
    format: Literal["auto", "json", "text", "console"] = "auto"
    output: Literal["stdout", "stderr"] = "stderr"
    executions: Literal["all", "failures", "none"] = "failures"


class Settings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration without the features' sections.

    Attributes:
        features: Features of other packages to load, by entry-point name, with their settings.
    """

    cluster: Cluster = Cluster()
    server: Server = Server()
    scheduler: Scheduler = Scheduler()
    dispatcher: Dispatcher = Dispatcher()
    history: History = History()
    logging: Logging = Logging()
    features: dict[str, dict[str, Any]] = field(default_factory=dict)
    gitops: dict[str, Any] | None = None
    federation: dict[str, Any] | None = None
    chatbot: dict[str, Any] | None = None


WITHOUT_EFFECT = {
    "cluster.raft": "one node alone has nobody to agree with",
    "server.grpc": "there is no gRPC listener yet",
    "scheduler.tick_interval": "nothing ticks: the scheduler sleeps until the next instant",
    "dispatcher.http.tls.enabled": "https is used wherever the URL says so",
    "dispatcher.http.tls.cert_file": "targets are shown credentials, not certificates",
    "dispatcher.http.tls.key_file": "targets are shown credentials, not certificates",
    "secrets.vault": "it arrives with its feature",
    "gitops": "it arrives with its feature",
    "federation": "it arrives with its feature",
    "chatbot": "it arrives with its feature",
}
"""Keys that are accepted and do nothing on a single node, and why. Each is logged once when it is set."""

WITHOUT_EFFECT_IN_CLUSTER = {
    "cluster.raft.address": "members meet at `cluster.peer_address`",
    "cluster.raft.peers": "members stand in `cluster.members`",
    "cluster.raft.heartbeat_timeout": "the engine's leader is heard ten times in an `election_timeout`",
    "cluster.raft.snapshot_interval": "state is on the disk at any time",
    "cluster.raft.snapshot_threshold": "state is on the disk at any time",
    "cluster.raft.bootstrap": "the members' own data says whether there is a cluster already",
    "cluster.raft.tls": "members show what `cluster.tls` names",
}
"""The same for a member of a cluster, of `cluster.raft`."""
