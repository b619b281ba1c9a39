"""The whole machine, top to bottom. Everything is put together here, and nothing is started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from chronos import __version__
from chronos.cluster.local import LocalLog
from chronos.dispatch.check import check_target
from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.http.dispatcher import HttpDispatcher, HttpSettings
from chronos.dispatch.port import Dispatcher
from chronos.dispatch.process.dispatcher import ProcessDispatcher
from chronos.dispatch.right import RightToSend
from chronos.dispatch.router import Router
from chronos.model.premises import Authenticator, Entrance, Premises
from chronos.model.sealing import Sealer
from chronos.scheduler.company import Company
from chronos.scheduler.evidence import Evidence, Progress
from chronos.scheduler.jobs import JobService
from chronos.scheduler.loop import Scheduler
from chronos.scheduler.outlook import Outlook
from chronos.scheduler.pauses import PauseTimer
from chronos.scheduler.pulse import Pulse
from chronos.scheduler.settings import SchedulerSettings
from chronos.scheduler.successes import Successes
from chronos.server import manifest
from chronos.server.backup.service import Backups
from chronos.server.backup.staging import MembersLog
from chronos.server.bodies import Bodies
from chronos.server.clockwatch import ClockWatch
from chronos.server.config import Config, is_loopback, split_address
from chronos.server.exits import breakers_of, cores, egress_of, hosts_of, http_of, processes_of, workers_of, wrap
from chronos.server.gate import Asgi, host_of
from chronos.server.gauges import register_gauges, register_log_gauges
from chronos.server.host import ServerHost
from chronos.server.joining import commands_of, company_of, membership_of
from chronos.server.journal import TOLD, Journal
from chronos.server.keeping import Keeping, keeping_of
from chronos.server.kept import Keep
from chronos.server.lastruns import LastRuns
from chronos.server.listener import Listener
from chronos.server.live import SHOWN, Live
from chronos.server.lookup import JobLookup
from chronos.server.membergauges import register_member_gauges
from chronos.server.membership import EnteredLog, Membership, Seat, Wiring
from chronos.server.outputs import Outputs
from chronos.server.premises import ServerEntrance, ServerPremises
from chronos.server.processes.assembling import front_of
from chronos.server.rest import routes
from chronos.server.rest.core import Core
from chronos.server.settings import Http, Settings
from chronos.server.stats import COUNTED, Stats
from chronos.server.web import build
from chronos.server.workers import AllBreakers, Running, Workers
from chronos.store.clusterlog import ClusterLog
from chronos.store.commandlog import CommandLog, CommandLogSettings
from chronos.store.datafolder import DataFolder
from chronos.store.exporting import Exporter
from chronos.store.queries import Queries
from chronos.store.sqlite import SqliteState
from chronos.store.tables import SLOTS
from chronos.store.truncation import LogStanding, TruncationSettings
from chronos.telemetry import Telemetry
from chronos.timing.clock import Chance, Clock, SystemChance, SystemClock, ulid
from chronos.timing.duration import DAY_US, parse_duration
from chronos.timing.trusted import TrustedClock, kernel_synchronised


class Listening(Protocol):
    """A socket with the API behind it, like `Listener`."""

    @property
    def url(self) -> str: ...
    @property
    def port(self) -> int: ...
    async def __aenter__(self) -> object: ...
    async def __aexit__(self, *exc: object) -> None: ...
    async def stop(self) -> None: ...


def _local_log(folder: Path, node: str) -> LocalLog:
    return LocalLog(folder, node=node)


def _listener(app: Callable[[], Asgi], host: str, port: int, settings: Http) -> Listening:
    return Listener(app(), host, port, settings)


@dataclass(frozen=True)
class Outside:
    """What comes from outside, so that a test can bring its own.

    Attributes:
        synchronised: Whether the kernel calls its clock synchronised; asked once a second while the clock is held.
        log: Makes the log of (folder, node).
        state: Makes the state in a folder.
        http: Makes what delivers to targets of type `http`.
        listener: Makes the listener from what builds the app, the address, the port and its settings; None for a
            socket, in this process or with `server.processes` in others.
        wiring: Connects the node with the other members of a cluster; None for a node that stands alone.
        cores: How many cores there are to run on.
        part_jobs: See `SchedulerSettings`.
    """

    clock: Clock = field(default_factory=SystemClock)
    chance: Chance = field(default_factory=SystemChance)
    synchronised: Callable[[], bool] = kernel_synchronised
    log: Callable[[Path, str], LocalLog] = _local_log
    state: Callable[[Path], SqliteState] = SqliteState
    http: Callable[[EgressGuard, Clock, HttpSettings], Dispatcher] = HttpDispatcher
    listener: Callable[[Callable[[], Asgi], str, int, Http], Listening] | None = None
    wiring: Callable[[House], Wiring] | None = None
    cores: Callable[[], int] = cores
    part_jobs: int = SchedulerSettings().part_jobs


@dataclass
class Standing:
    """Why the node takes no requests; empty when it does."""

    reason: str = "The server is still starting."
    draining: bool = False


@dataclass(frozen=True)
class House:
    """What every part needs to know.

    Attributes:
        clock: The one that everybody goes by: the outside one, as far as it is believed.
        right: A member's right to send; None for a node that stands alone.
    """

    settings: Settings
    outside: Outside
    clock: TrustedClock
    telemetry: Telemetry
    standing: Standing
    premises: ServerPremises
    entrance: ServerEntrance
    folder: Path
    address: str
    port: int
    right: RightToSend | None = None


@dataclass(frozen=True)
class Truth:
    """What is true: the log, what it folds into, and what can be asked."""

    log: LocalLog | EnteredLog
    state: SqliteState
    commands: CommandLog
    queries: Queries
    truncation: TruncationSettings
    watch: ClockWatch
    backups: Backups
    standing: LogStanding


@dataclass(frozen=True)
class Exits:
    """How it leaves: the guard, the dispatchers, and the router that takes a delivery to them."""

    guard: EgressGuard
    processes: ProcessDispatcher
    outputs: Outputs
    router: Router


@dataclass(frozen=True)
class Drive:
    """Who drives: what is due, who may send, what people do to jobs."""

    executor: Running
    workers: Workers
    scheduler: Scheduler
    jobs: JobService
    pauses: PauseTimer
    bodies: Bodies
    successes: Successes
    incarnation: str
    keeping: Keeping
    company: Company | None


@dataclass(frozen=True)
class Door:
    """Who asks: the routes, the live view, the socket."""

    core: Core
    live: Live
    journal: Journal
    listener: Listening


@dataclass(frozen=True)
class Node:
    """A node, whole. `lifecycle` starts its parts in the order in which they stand here."""

    house: House
    truth: Truth
    host: ServerHost
    features: list[str]
    exits: Exits
    drive: Drive
    door: Door
    membership: Membership | None = None

    @property
    def on_loopback(self) -> bool:
        return self.house.premises.listens_on_loopback


def assemble(config: Config, folder: DataFolder, *, insecure: bool = False, outside: Outside | None = None) -> Node:
    """Return a node over an open data folder.

    Raises:
        ConfigInvalid: Something in the configuration cannot work; nothing was started.
    """
    house = _house(config.settings, folder.path, insecure, outside or Outside())
    wiring = house.outside.wiring(house) if house.outside.wiring is not None else None
    truth = _truth(house, wiring)
    host = _host(house, truth)
    features = manifest.install(host, house.settings, config.sections)
    exits = _exits(house, host)
    # What a test brings along to send with cannot be sent on to another process.
    sends_as_usual = house.outside.http is HttpDispatcher
    count = workers_of(house.settings, house.outside.cores()) if sends_as_usual else 0
    workers = Workers(count, house, exits.router, config.sections, features, exits.guard)
    drive = _drive(house, truth, host, exits, workers, wiring)
    membership = membership_of(house, truth, host, drive, wiring) if wiring is not None else None
    if membership is not None:
        register_member_gauges(house.telemetry, membership)
    door = _door(house, truth, host, exits, drive, membership)
    return Node(house, truth, host, features, exits, drive, door, membership)


def _house(settings: Settings, folder: Path, insecure: bool, outside: Outside) -> House:
    address, port = split_address(settings.server.http.address)
    premises = ServerPremises(folder, outside.chance, on_loopback=is_loopback(address), insecure=insecure)
    clock = TrustedClock(outside.clock)
    entrance = ServerEntrance(settings.server.public_url or "")
    right = RightToSend(clock) if outside.wiring is not None else None
    return House(settings, outside, clock, Telemetry(), Standing(), premises, entrance, folder, address, port, right)


def _truth(house: House, wiring: Wiring | None) -> Truth:
    state = house.outside.state(house.folder)
    if wiring is not None:
        state.cut_alike()
    log = wiring.log if wiring is not None else house.outside.log(house.folder / "log", house.settings.cluster.node_id)
    write_through = CommandLogSettings(write_through=bool(house.settings.server.processes))
    commands = (
        CommandLog(log, state, house.clock, house.outside.chance, settings=write_through, telemetry=house.telemetry)
        if wiring is None
        else commands_of(house, wiring.log, state, wiring)
    )
    queries = Queries(state, house.premises.key("cursors"))
    watch = ClockWatch(house.clock, commands, house.outside.synchronised)
    backed = log if isinstance(log, LocalLog) else MembersLog(log)
    backups = Backups(house.folder, backed, state, house.clock, house.settings.cluster.node_id)
    truncation = TruncationSettings(held_bytes=house.settings.cluster.log_held_bytes)
    return Truth(log, state, commands, queries, truncation, watch, backups, LogStanding())


def _host(house: House, truth: Truth) -> ServerHost:
    host = ServerHost(
        truth.commands,
        truth.queries,
        clock=house.clock,
        chance=house.outside.chance,
        telemetry=house.telemetry,
    )
    if isinstance(commands := truth.commands, ClusterLog):
        host.serve_while(lambda: commands.leads, lambda: commands.leader)
    host.provide(Premises, house.premises)  # type: ignore[type-abstract]  # capabilities are looked up by Protocol
    host.provide(Entrance, house.entrance)  # type: ignore[type-abstract]
    wrap(host, house.premises, house.settings)
    return host


def _exits(house: House, host: ServerHost) -> Exits:
    settings, clock = house.settings, house.clock
    guard = EgressGuard(egress_of(settings, on_loopback=house.premises.listens_on_loopback), right=house.right)
    host.provide(EgressGuard, guard)
    outputs = Outputs(house.folder / "outputs")
    processes = ProcessDispatcher(house.folder / "processes", processes_of(settings), log_sink=outputs.take)
    dispatchers: dict[str, Dispatcher] = {
        "http": house.outside.http(guard, clock, http_of(settings)),
        "process": processes,
        **host.dispatchers,
    }
    router = Router(
        dispatchers, clock, around=host.arounds, breakers=breakers_of(settings), settings=hosts_of(settings)
    )
    host.provide(Router, router)
    return Exits(guard, processes, outputs, router)


def _drive(
    house: House, truth: Truth, host: ServerHost, exits: Exits, workers: Workers, wiring: Wiring | None
) -> Drive:
    settings, clock, chance = house.settings, house.clock, house.outside.chance
    incarnation = f"{settings.cluster.node_id}#{ulid(clock, chance)}"
    company = company_of(house, truth, incarnation, wiring) if wiring is not None else None
    bodies = Bodies(house.folder / "bodies")
    scheduler = Scheduler(
        truth.commands,
        truth.queries,
        clock,
        workers.make,
        incarnation=incarnation,
        settings=_scheduler(settings, house.outside.part_jobs),
        telemetry=house.telemetry,
        keep_body=bodies.keep,
        tell_cancelled=exits.router.tell_cancelled,
        redactor=exits.router.redactor,
        company=company,
    )
    jobs = JobService(
        truth.commands,
        JobLookup(truth.queries),
        scheduler,
        clock=clock,
        chance=chance,
        sealer=Sealer(house.premises.key("credentials"), chance),
        check_target=check_target,
    )
    host.bind(jobs)
    host.provide(Outlook, Outlook(scheduler.plan_of))
    successes = Successes(truth.commands.view, scheduler.plan_of, truth.queries.all_jobs)
    host.provide(Successes, successes)
    pulse = _pulse(house, truth, scheduler)
    host.provide(Pulse, pulse)
    host.provide(Evidence, Evidence(truth.queries, truth.commands.view, partial(_progress, house, truth, scheduler)))
    pauses = PauseTimer(truth.commands, truth.queries, jobs, clock)
    register_gauges(house.telemetry, truth.commands, scheduler, workers, truth.watch, pulse)
    house.telemetry.gauge_from("backup_age_seconds", truth.backups.age_s)
    register_log_gauges(house.telemetry, truth.standing, ["backup", *(hold.name for hold in host.holds())])
    key, node = house.premises.key("cursors"), settings.cluster.node_id
    host.provide(Exporter, Exporter(truth.state, key, version=__version__, node=node))
    keeping = keeping_of(truth.state.archive, truth.commands, truth.queries, settings.history, bodies, exits.outputs)
    return Drive(workers.executor, workers, scheduler, jobs, pauses, bodies, successes, incarnation, keeping, company)


def _progress(house: House, truth: Truth, scheduler: Scheduler) -> Progress:
    return Progress(
        now_us=scheduler.now_us,
        shard=scheduler.shard,
        waits_for=scheduler.status()["waits_for"] or "",
        clock_note=truth.watch.standing().note,
        kept_days=parse_duration(house.settings.history.retention) / DAY_US,
    )


def _door(
    house: House, truth: Truth, host: ServerHost, exits: Exits, drive: Drive, membership: Membership | None
) -> Door:
    settings, standing = house.settings, house.standing
    live, journal = Live(), Journal(settings.logging.executions)
    # Whatever was opened of a job has had a place among its slots, and they last as long as the job.
    last_runs = LastRuns(truth.queries, may_have_run=lambda job_id: truth.commands.view.get(SLOTS, job_id) is not None)
    stats = Stats(house.clock, truth.queries.open_executions)
    truth.commands.subscribe(live.on_events, of=SHOWN)
    truth.commands.subscribe(journal.on_events, of=TOLD)
    truth.commands.subscribe(last_runs.on_events)
    truth.commands.subscribe(stats.on_events, of=COUNTED)
    house.telemetry.add_sink(stats)
    core = Core(
        jobs=drive.jobs,
        log=truth.commands,
        queries=truth.queries,
        scheduler=drive.scheduler,
        breakers=AllBreakers(exits.router.breakers, house.clock, drive.workers),
        workers=drive.workers.states,
        running=lambda: drive.executor.running,
        deliver=exits.router,
        live=live,
        last_runs=last_runs,
        stats=stats,
        successes=drive.successes,
        keep=Keep(settings.cluster.node_id, drive.bodies, exits.outputs, membership.wiring.net if membership else None),
        watch=truth.watch,
        backups=truth.backups,
        log_standing=truth.standing,
        settings=settings,
        clock=house.clock,
        chance=house.outside.chance,
        node=settings.cluster.node_id,
        admit=host.ask,
        is_ready=partial(_not_ready, standing, membership),
        seat=membership.seat if membership is not None else partial(Seat, leader=settings.cluster.node_id),
        notes=lambda: _notes(truth, drive.scheduler),
        changes=membership.changes if membership is not None else None,
    )
    for endpoint in routes.endpoints(core, host.endpoints):
        host.endpoint(endpoint)
    app = partial(
        build,
        host.endpoints,
        authenticate=host.require(Authenticator).recognise,  # type: ignore[type-abstract]
        allowed_hosts=_allowed_hosts(settings),
        address=house.address,
        clock=house.clock,
        chance=house.outside.chance,
        telemetry=house.telemetry,
        is_draining=lambda: standing.draining,
        applied=lambda: truth.commands.applied,
        barrier=None if membership is None else membership.barrier,
        body_bytes_max=settings.server.http.max_body_bytes,
    )
    listener = _listen(house, app, partial(front_of, house, truth, host, live, last_runs))
    exits.guard.forbid_port(listener.port)
    house.entrance.listener_url = listener.url if host_of(house.address) else ""
    return Door(core, live, journal, listener)


def _listen(
    house: House, app: Callable[[], Asgi], front: Callable[[Callable[[], Asgi], list[str]], Listening]
) -> Listening:
    server, listener = house.settings.server, house.outside.listener
    if listener is None and server.processes:
        return front(app, _allowed_hosts(house.settings))
    return (listener or _listener)(app, house.address, house.port, server.http)


def _allowed_hosts(settings: Settings) -> list[str]:
    """Return the names that the server answers to: those that are listed, and the one it is published under."""
    public = urlsplit(settings.server.public_url or "").hostname
    return [*settings.server.allowed_hosts, *([public] if public else [])]


def _not_ready(standing: Standing, membership: Membership | None) -> str:
    return standing.reason or (membership.seat().trouble if membership is not None else "")


def _notes(truth: Truth, scheduler: Scheduler) -> list[str]:
    """Say what a node that takes requests still cannot do."""
    return [note for note in (truth.watch.standing().note, _storage_note(truth, scheduler)) if note]


def _storage_note(truth: Truth, scheduler: Scheduler) -> str:
    if not truth.commands.storage_full and not scheduler.status().get("waits_for"):
        return ""
    return (
        "The disk is full: reads are served, nothing is written and nothing new runs. "
        "Make room, and it goes on by itself."
    )


def _pulse(house: House, truth: Truth, scheduler: Scheduler) -> Pulse:
    return Pulse(
        partial(_storage_note, truth, scheduler),
        lambda: truth.watch.standing().note,
        scheduler.standstill,
        is_leaving=lambda: house.standing.draining,
    )


def _scheduler(settings: Settings, part_jobs: int) -> SchedulerSettings:
    return SchedulerSettings(
        claim_lead_us=parse_duration(settings.scheduler.claim_lead),
        execution_timeout_us=parse_duration(settings.scheduler.execution_timeout),
        http_timeout_us=parse_duration(settings.dispatcher.http.timeout),
        history_days=parse_duration(settings.history.retention) / DAY_US,
        on_isolation=settings.scheduler.on_isolation,
        part_jobs=part_jobs,
    )


def data_folder(settings: Settings) -> DataFolder:
    """Return the data folder that the configuration names, not yet opened."""
    return DataFolder(Path(settings.cluster.data_dir))
