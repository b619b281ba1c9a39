"""Who is measured, how each is set up, and what each can promise: data, and nothing that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TOLD = "told"
SECOND = "second"
UNKNOWN = "unknown"

PACKAGES = {
    "redis-server": "redis-server",
    "initdb": "postgresql",
    "pg_ctl": "postgresql",
    "node": "nodejs",
    "npm": "npm",
    "go": "golang-go",
}
"""Debian's package of a program."""

AT_ONCE = "64 at a time"
APSCHEDULER_3 = ("apscheduler==3.11.3", "sqlalchemy==2.0.58", "aiohttp==3.14.5", "urllib3==2.8.0")


@dataclass(frozen=True)
class Peer:
    """A scheduler, and how it is run.

    Attributes:
        driver: The script in `drivers/` that makes the jobs and runs the scheduler.
        python: What its environment needs; none for Chronos, which is measured as it is checked out here.
        npm: The folder of `drivers/` whose `package.json` says what it needs.
        go: The Go package that it is built from, with its version.
        server: `postgres` or `redis`, started anew for each run; or where in `{folder}` it keeps its jobs.
        needs: Programs that have to be there.
        processes: Names of its processes, by a word of their command line; others are the `driver`.
        setup: How it is set up, for people.
        survives: What a `kill -9` of all of its processes and its server leaves.
        recurring: Of a job that recurs each second: `told` its instant, taken to be the `second` in which the
            request arrived, or `unknown`, as it keeps an interval and no instants.
        has_jitter: Whether it spreads jobs over a second by itself, so that its instants are known from the job's id.
        creates_a_second: How many jobs it can be given a second; the first is due when all are there.
    """

    driver: str
    python: tuple[str, ...] = ()
    npm: str = ""
    go: str = ""
    server: str = "memory"
    needs: tuple[str, ...] = ()
    processes: Mapping[str, str] = field(default_factory=dict)
    setup: str = ""
    survives: str = ""
    recurring: str = TOLD
    has_jitter: bool = False
    creates_a_second: int = 500


PEERS: dict[str, Peer] = {
    "chronos": Peer(
        driver="chronos_node.py",
        processes={
            "chronos.cli.server": "server",
            "chronos.server.worker": "worker",
            "chronos.server.processes": "api",
        },
        setup="`chronos server` with its defaults; jobs through its API",
        survives="jobs, claims and outcomes, each fsynced before it counts; what was running is found, and follows "
        "the job's `on_unknown`",
        has_jitter=True,
        creates_a_second=1_000,
    ),
    "apscheduler-3-memory": Peer(
        driver="apscheduler3.py",
        python=APSCHEDULER_3,
        setup=f"`AsyncIOScheduler`, coroutines with one aiohttp session, {AT_ONCE}, no misfire limit",
        survives="nothing",
        creates_a_second=2_000,
    ),
    "apscheduler-3-sqlite": Peer(
        driver="apscheduler3.py",
        python=APSCHEDULER_3,
        server="sqlite:///{folder}/jobs.sqlite",
        setup="`BackgroundScheduler`, 64 threads with one urllib3 pool, `SQLAlchemyJobStore` on SQLite",
        survives="jobs and their next run, fsynced; no outcomes, and what was running is forgotten",
        creates_a_second=40,
    ),
    "apscheduler-4-memory": Peer(
        driver="apscheduler4.py",
        python=("apscheduler==4.0.0a6", "aiohttp==3.14.5"),
        setup=f"a pre-release; `AsyncScheduler`, coroutines with one aiohttp session, {AT_ONCE}",
        survives="nothing",
        creates_a_second=400,
    ),
    "apscheduler-4-postgres": Peer(
        driver="apscheduler4.py",
        python=(
            "apscheduler==4.0.0a6",
            "aiohttp==3.14.5",
            "sqlalchemy==2.0.58",
            "psycopg[binary]==3.3.9",
            "sniffio==1.3.1",
        ),
        server="postgres",
        needs=("initdb", "pg_ctl"),
        processes={"postgres": "postgres"},
        setup=f"the same with `SQLAlchemyDataStore` on a new PostgreSQL with its defaults, {AT_ONCE}",
        survives="schedules and jobs, committed (`synchronous_commit=on`); results expire at once by default; what was "
        "running is told as abandoned",
        creates_a_second=60,
    ),
    "procrastinate-postgres": Peer(
        driver="procrastinate_worker.py",
        python=("procrastinate==3.10.0", "psycopg[binary]==3.3.9", "aiohttp==3.14.5"),
        server="postgres",
        needs=("initdb", "pg_ctl"),
        processes={"postgres": "postgres"},
        setup=f"one worker, {AT_ONCE}, coroutines with one aiohttp session; asks every 50 ms (its default is 5 s); a "
        "new PostgreSQL with its defaults",
        survives="jobs and outcomes, committed (`synchronous_commit=on`); what was running stays `doing` until "
        "somebody retries it",
        creates_a_second=200,
    ),
    "celery-redis": Peer(
        driver="celery_worker.py",
        python=("celery[redis]==5.7.0", "urllib3==2.8.0"),
        server="redis",
        needs=("redis-server",),
        processes={"redis-server": "redis", "celery_app beat": "beat", "celery_app worker": "worker"},
        setup="one worker with 64 threads and one urllib3 pool; one-off jobs are tasks with an ETA, recurring "
        "ones are beat's with an interval of a second; results in Redis",
        survives="tasks, with the last second lost when the machine dies too (`appendfsync everysec`); those with an "
        "ETA come back after the visibility timeout, an hour; what was running is lost (acknowledged early)",
        recurring=UNKNOWN,
        creates_a_second=200,
    ),
    "bullmq-redis": Peer(
        driver="bullmq/worker.mjs",
        npm="bullmq",
        server="redis",
        needs=("redis-server", "node", "npm"),
        processes={"redis-server": "redis"},
        setup=f"one worker, {AT_ONCE}, `fetch` with its own pool; one-off jobs are delayed, recurring ones are job "
        "schedulers with a cron pattern; finished jobs are kept",
        survives="jobs and outcomes, with the last second lost when the machine dies too (`appendfsync everysec`); "
        "what was running is run again when its lock has expired, 30 s",
        creates_a_second=1_500,
    ),
    "dkron": Peer(
        driver="dkron_agent.py",
        go="github.com/distribworks/dkron/v4@v4.0.4",
        needs=("go",),
        processes={"dkron http": "executor", "dkron": "agent"},
        setup="one server that elects itself, the http executor that it brings; jobs through its API",
        survives="by its documentation jobs and outcomes, in its Raft log",
        recurring=SECOND,
        creates_a_second=50,
    ),
}


def lacking(peer: Peer, there: Mapping[str, str | None]) -> str:
    """Return what is missing and what to install, of programs and where they are; empty when all is there."""
    missing = [program for program in peer.needs if not there.get(program)]
    if not missing:
        return ""
    packages = sorted({PACKAGES[program] for program in missing})
    return f"{', '.join(missing)} not found (on Debian: apt-get install {' '.join(packages)})"
