"""The whole machine, top to bottom. Everything is put together here, and nothing is started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chronos.cluster.local import LocalLog
from chronos.dispatch.breaker import Breakers, BreakerSettings
from chronos.dispatch.check import check_target
from chronos.dispatch.egress import EgressGuard, EgressPolicy, EgressSettings
from chronos.dispatch.executor import ExecutorSettings, LocalExecutor
from chronos.dispatch.http.dispatcher import HttpDispatcher, HttpSettings
from chronos.dispatch.port import Dispatcher, Executor, OnDone
from chronos.dispatch.process.dispatcher import ProcessDispatcher
from chronos.dispatch.process.rules import ProcessSettings
from chronos.dispatch.router import Router, RouterSettings
from chronos.dispatch.unseal import unsealing
from chronos.errors import ConfigInvalid
from chronos.model.premises import Authenticator, Premises
from chronos.model.sealing import Sealer
from chronos.scheduler.jobs import JobService
from chronos.scheduler.loop import Scheduler
from chronos.scheduler.outlook import Outlook
from chronos.scheduler.pauses import PauseTimer
from chronos.scheduler.settings import SchedulerSettings
from chronos.server import manifest
from chronos.server.bodies import Bodies
from chronos.server.config import Config, is_loopback, split_address
from chronos.server.host import ServerHost
from chronos.server.listener import Listener
from chronos.server.live import Live
from chronos.server.lookup import JobLookup
from chronos.server.premises import ServerPremises
from chronos.server.rest import routes
from chronos.server.rest.core import Core
from chronos.server.settings import Settings
from chronos.server.web import build
from chronos.store.commandlog import CommandLog
from chronos.store.datafolder import DataFolder
from chronos.store.queries import Queries
from chronos.store.sqlite import SqliteState
from chronos.store.truncation import TruncationSettings
from chronos.telemetry import Telemetry
from chronos.timing.clock import Chance, Clock, SystemChance, SystemClock, ulid
from chronos.timing.duration import DAY_US, parse_duration

UNSEAL_ORDER = 10  # outside of what resolves references: a sealed text may hold one


@dataclass(frozen=True)
class Outside:
    """What comes from outside, so that a test can bring its own."""

    clock: Clock = field(default_factory=SystemClock)
    chance: Chance = field(default_factory=SystemChance)


@dataclass
class Standing:
    """Why the node takes no requests; empty when it does."""

    reason: str = "The server is still starting."
    draining: bool = False


@dataclass(frozen=True)
class Node:
    """The parts of a node, in the order in which `lifecycle` starts them."""

    settings: Settings
    outside: Outside
    telemetry: Telemetry
    standing: Standing
    log: LocalLog
    state: SqliteState
    commands: CommandLog
    queries: Queries
    truncation: TruncationSettings
    host: ServerHost
    guard: EgressGuard
    processes: ProcessDispatcher
    router: Router
    executor: LocalExecutor
    scheduler: Scheduler
    jobs: JobService
    pauses: PauseTimer
    live: Live
    listener: Listener
    incarnation: str
    on_loopback: bool
    features: list[str]


def assemble(config: Config, folder: DataFolder, *, insecure: bool = False, outside: Outside | None = None) -> Node:
    """Return a node over an open data folder.

    Raises:
        ConfigInvalid: Something in the configuration cannot work; nothing was started.
    """
    settings = config.settings
    outside = outside or Outside()
    clock, chance = outside.clock, outside.chance
    telemetry, standing = Telemetry(), Standing()
    address, port = split_address(settings.server.http.address)
    on_loopback = is_loopback(address)
    premises = ServerPremises(folder.path, chance, on_loopback=on_loopback, insecure=insecure)

    # What is true: the log, what it folds into, and what can be asked.
    log = LocalLog(folder.path / "log", node=settings.cluster.node_id)
    state = SqliteState(folder.path)
    commands = CommandLog(log, state, clock, chance)
    queries = Queries(state, premises.key("cursors"))

    # What can be switched off.
    host = ServerHost(commands, queries, clock=clock, chance=chance, telemetry=telemetry)
    host.provide(Premises, premises)  # type: ignore[type-abstract]  # capabilities are looked up by Protocol
    sealer = Sealer(premises.key("credentials"), chance)
    host.around_dispatch(unsealing(sealer), order=UNSEAL_ORDER)
    features = manifest.install(host, settings, config.sections)

    # How it leaves.
    guard = EgressGuard(_egress(settings, on_loopback))
    host.provide(EgressGuard, guard)
    processes = ProcessDispatcher(
        folder.path / "processes", ProcessSettings(enabled=settings.dispatcher.process.enabled)
    )
    dispatchers: dict[str, Dispatcher] = {
        "http": HttpDispatcher(guard, clock, _http(settings)),
        "process": processes,
        **host.dispatchers,
    }
    router = Router(dispatchers, clock, around=host.arounds, breakers=_breakers(settings), settings=_hosts(settings))

    # Who drives.
    incarnation = f"{settings.cluster.node_id}#{ulid(clock, chance)}"
    bodies = Bodies(folder.path / "bodies")
    executors: list[LocalExecutor] = []
    scheduler = Scheduler(
        commands,
        queries,
        clock,
        _executor(router, clock, settings, executors.append),
        incarnation=incarnation,
        settings=_scheduler(settings),
        telemetry=telemetry,
        keep_body=bodies.keep,
    )
    jobs = JobService(
        commands, JobLookup(queries), scheduler, clock=clock, chance=chance, sealer=sealer, check_target=check_target
    )
    host.bind(jobs)
    host.provide(Outlook, Outlook(scheduler.plan_of))
    pauses = PauseTimer(commands, queries, jobs, clock)

    # Who asks.
    live = Live()
    commands.subscribe(live.on_events)
    core = Core(
        jobs=jobs,
        log=commands,
        queries=queries,
        scheduler=scheduler,
        breakers=router.breakers,
        deliver=router,
        live=live,
        bodies=bodies,
        settings=settings,
        clock=clock,
        chance=chance,
        node=settings.cluster.node_id,
        admit=host.ask,
        is_ready=lambda: standing.reason,
    )
    for endpoint in routes.endpoints(core, host.endpoints):
        host.endpoint(endpoint)
    app = build(
        host.endpoints,
        authenticate=host.require(Authenticator).recognise,  # type: ignore[type-abstract]
        allowed_hosts=settings.server.allowed_hosts,
        address=address,
        clock=clock,
        chance=chance,
        telemetry=telemetry,
        is_draining=lambda: standing.draining,
    )
    listener = Listener(app, address, port, settings.server.http.tls)
    guard.forbid_port(listener.port)

    return Node(
        settings=settings,
        outside=outside,
        telemetry=telemetry,
        standing=standing,
        log=log,
        state=state,
        commands=commands,
        queries=queries,
        truncation=TruncationSettings(retention_days=parse_duration(settings.history.retention) / DAY_US),
        host=host,
        guard=guard,
        processes=processes,
        router=router,
        executor=executors[0],
        scheduler=scheduler,
        jobs=jobs,
        pauses=pauses,
        live=live,
        listener=listener,
        incarnation=incarnation,
        on_loopback=on_loopback,
        features=features,
    )


def _executor(
    router: Router, clock: Clock, settings: Settings, made: Callable[[LocalExecutor], None]
) -> Callable[[OnDone], Executor]:
    limits = ExecutorSettings(max_concurrent=settings.dispatcher.concurrency.max_concurrent_jobs)

    def make(on_done: OnDone) -> Executor:
        executor = LocalExecutor(router.deliver, on_done, clock, limits, tell_cancelled=router.tell_cancelled)
        made(executor)
        return executor

    return make


def _egress(settings: Settings, on_loopback: bool) -> EgressSettings:
    egress = settings.dispatcher.egress
    loopback = on_loopback if egress.allow_loopback is None else egress.allow_loopback
    if loopback and not on_loopback:
        raise ConfigInvalid(
            "`dispatcher.egress.allow_loopback` needs a server that listens on loopback only.",
            field="dispatcher.egress.allow_loopback",
        )
    policy = EgressPolicy.PRIVATE_OK if egress.allow_private else EgressPolicy.PUBLIC_ONLY
    return EgressSettings(policy=policy, allow=list(egress.allow), loopback=loopback)


def _http(settings: Settings) -> HttpSettings:
    http = settings.dispatcher.http
    return HttpSettings(
        connect_timeout_s=parse_duration(http.connect_timeout) / 1e6,
        idle_s=parse_duration(http.idle_conn_timeout) / 1e6,
        max_idle_conns=http.max_idle_conns,
        ca_file=http.tls.ca_file,
    )


def _breakers(settings: Settings) -> Breakers:
    breaker = settings.dispatcher.circuit_breaker
    return Breakers(
        BreakerSettings(
            failures=breaker.failure_threshold,
            open_s=parse_duration(breaker.open_timeout) / 1e6,
            successes=breaker.success_threshold,
        )
    )


def _hosts(settings: Settings) -> RouterSettings:
    return RouterSettings(per_host_max=settings.dispatcher.concurrency.per_host_limit)


def _scheduler(settings: Settings) -> SchedulerSettings:
    return SchedulerSettings(
        claim_lead_us=parse_duration(settings.scheduler.claim_lead),
        execution_timeout_us=parse_duration(settings.scheduler.execution_timeout),
        http_timeout_us=parse_duration(settings.dispatcher.http.timeout),
    )


def data_folder(settings: Settings) -> DataFolder:
    """Return the data folder that the configuration names, not yet opened."""
    return DataFolder(Path(settings.cluster.data_dir))
