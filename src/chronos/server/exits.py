"""How executions leave, made of the settings: alike in the main process and in every worker process."""

from __future__ import annotations

import os

from chronos.dispatch.breaker import Breakers, BreakerSettings
from chronos.dispatch.egress import EgressPolicy, EgressSettings
from chronos.dispatch.executor import ExecutorSettings
from chronos.dispatch.http.dispatcher import HttpSettings
from chronos.dispatch.process.rules import ProcessSettings
from chronos.dispatch.router import RouterSettings
from chronos.dispatch.signing import signing_unsigned
from chronos.dispatch.unseal import unsealing
from chronos.errors import ConfigInvalid
from chronos.model.premises import Premises
from chronos.model.sealing import Sealer
from chronos.plugin import Host
from chronos.server.settings import Settings
from chronos.timing.duration import parse_duration

SIGN_ORDER = 20  # outside of what resolves references: the server's secret may be one
UNSEAL_ORDER = 10  # outside of what resolves references: a sealed text may hold one

AUTO_MAX = 4
"""One worker sends as much as main can plan; a few spare it the crowds of hosts."""


def wrap(host: Host, premises: Premises, settings: Settings) -> None:
    """Wrap every delivery in what opens credentials and what signs."""
    host.around_dispatch(unsealing(Sealer(premises.key("credentials"), host.chance)), order=UNSEAL_ORDER)
    if secret := settings.dispatcher.http.signing_secret:
        host.around_dispatch(signing_unsigned(secret), order=SIGN_ORDER)


def egress_of(settings: Settings, *, on_loopback: bool) -> EgressSettings:
    """Return whom targets may be.

    Raises:
        ConfigInvalid: The settings contradict where the server listens.
    """
    egress = settings.dispatcher.egress
    loopback = on_loopback if egress.allow_loopback is None else egress.allow_loopback
    if loopback and not on_loopback:
        raise ConfigInvalid(
            "`dispatcher.egress.allow_loopback` needs a server that listens on loopback only.",
            field="dispatcher.egress.allow_loopback",
        )
    policy = EgressPolicy(egress.policy or ("private-ok" if egress.allow_private else "public-only"))
    return EgressSettings(policy=policy, allow=list(egress.allow), loopback=loopback, nat64=list(egress.nat64))


def http_of(settings: Settings, *, share: int = 1) -> HttpSettings:
    """Return how HTTP leaves; `share` processes have the idle connections among them."""
    http = settings.dispatcher.http
    return HttpSettings(
        connect_timeout_s=parse_duration(http.connect_timeout) / 1e6,
        idle_s=parse_duration(http.idle_conn_timeout) / 1e6,
        max_idle_conns=max(1, http.max_idle_conns // share),
        max_conns_per_host=http.max_conns_per_host,
        ca_file=http.tls.ca_file,
    )


def processes_of(settings: Settings) -> ProcessSettings:
    """Return what programs may run."""
    process = settings.dispatcher.process
    return ProcessSettings(
        enabled=process.enabled, allow_same_user=process.allow_same_user, env_allow=list(process.env_allow)
    )


def breakers_of(settings: Settings) -> Breakers:
    """Return fresh circuit breakers."""
    breaker = settings.dispatcher.circuit_breaker
    return Breakers(
        BreakerSettings(
            failures=breaker.failure_threshold,
            open_s=parse_duration(breaker.open_timeout) / 1e6,
            successes=breaker.success_threshold,
        )
    )


def hosts_of(settings: Settings) -> RouterSettings:
    """Return how much may go to one place at a time."""
    return RouterSettings(per_host_max=settings.dispatcher.concurrency.per_host_limit)


def executor_of(settings: Settings, *, share: int = 1) -> ExecutorSettings:
    """Return how much runs at a time; `share` executors have it among them."""
    limits = settings.dispatcher.concurrency
    return ExecutorSettings(
        max_concurrent=max(1, limits.max_concurrent_jobs // share), per_host_max=limits.per_host_limit
    )


def workers_of(settings: Settings, cores: int) -> int:
    """Return how many worker processes there are to be: the spare cores, unless somebody says a number.

    Features of other packages may not be made for two processes; with them there are none, unless somebody says so.
    """
    wanted = settings.dispatcher.workers
    if isinstance(wanted, int):
        return wanted
    most = min(AUTO_MAX, settings.dispatcher.concurrency.max_concurrent_jobs)
    return 0 if settings.features else max(0, min(cores - 1, most))


def cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
