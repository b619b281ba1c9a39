"""The egress guard: look a name up once, vet every address it has, and connect to nothing else.

Every connection of every HTTP call goes through `vetted`: first requests, redirects, cancel and probe URLs.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from ipaddress import IPv6Address, ip_address

from msgspec import Struct, field

from chronos.dispatch.addresses import Address, AddressKind, carried_v4, kind_of, parse_networks
from chronos.errors import ConfigInvalid, EgressRefused

LOOKUPS_MAX = 32
"""How many name look-ups may run at a time, a hanging one included until it ends."""

ADDRESSES_MAX = 8
"""How many addresses of a name are vetted and tried; a name with more is cut."""


class EgressPolicy(StrEnum):
    """Which addresses may be called."""

    OPEN = "open"
    PRIVATE_OK = "private-ok"
    PUBLIC_ONLY = "public-only"


class EgressSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where deliveries may go.

    Attributes:
        policy: `open` vets nothing but Chronos' own ports; `private-ok` allows public and private addresses;
            `public-only` allows public ones.
        allow: Networks allowed besides, like `10.1.0.0/16`. Multicast, unspecified and metadata addresses stay
            refused even inside them.
        loopback: Whether `private-ok` allows loopback: only where the server itself listens on nothing else.
        lookup_timeout_s: Bounds one name look-up.
    """

    policy: EgressPolicy = EgressPolicy.PRIVATE_OK
    allow: list[str] = field(default_factory=list)
    loopback: bool = True
    lookup_timeout_s: float = 5.0


class LookupFailed(Exception):
    """The name has no address, or nobody said in time."""


Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Returns a name's addresses, best first. Raises `OSError` when there are none."""

_NEVER = frozenset({AddressKind.MULTICAST, AddressKind.UNSPECIFIED, AddressKind.METADATA})
_ALLOWED = {
    EgressPolicy.OPEN: frozenset(AddressKind),
    EgressPolicy.PRIVATE_OK: frozenset({AddressKind.PUBLIC, AddressKind.PRIVATE}),
    EgressPolicy.PUBLIC_ONLY: frozenset({AddressKind.PUBLIC}),
}


class EgressGuard:
    """Says which addresses may be connected to for a host and port.

    Args:
        own_ports: Ports of Chronos' own; no local address is called on one of them. `forbid_port` adds to them.
        lookup: How names are looked up; the system's resolver by default.
    """

    def __init__(
        self, settings: EgressSettings | None = None, *, own_ports: Iterable[int] = (), lookup: Lookup | None = None
    ) -> None:
        self._settings = settings or EgressSettings()
        self._own_ports = set(own_ports)
        self._system = None if lookup else SystemLookup()
        self._lookup: Lookup = lookup or self._system  # type: ignore[assignment]
        try:
            self._allow = parse_networks(self._settings.allow)
        except ValueError as wrong:
            raise ConfigInvalid(f"dispatcher.egress.allow: {wrong}") from None

    def forbid_port(self, port: int) -> None:
        """From now on, refuse `port` at every address of this machine."""
        self._own_ports.add(port)

    async def vetted(self, host: str, port: int) -> list[str]:
        """Return the addresses to connect to, best first; one look-up, and every answer is vetted.

        Raises:
            EgressRefused: The name has an address that may not be called, even if others may.
            LookupFailed: It has none, or the look-up took too long.
        """
        addresses = await self._addresses(host, port)
        for address in addresses:
            self._vet(host, address, port)
        return [str(address) for address in addresses]

    def close(self) -> None:
        """Let go of the resolver's threads. May be called twice."""
        if self._system is not None:
            self._system.close()

    async def _addresses(self, host: str, port: int) -> list[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        try:
            async with asyncio.timeout(self._settings.lookup_timeout_s):
                found = await self._lookup(host, port)
        except TimeoutError:
            raise LookupFailed(f"{host} could not be looked up in {self._settings.lookup_timeout_s:g} s") from None
        except (OSError, UnicodeError) as failed:
            raise LookupFailed(f"{host} could not be looked up: {_words(failed)}") from None
        addresses = [ip_address(text.partition("%")[0]) for text in dict.fromkeys(found)][:ADDRESSES_MAX]
        if not addresses:
            raise LookupFailed(f"{host} has no address")
        return addresses

    def _vet(self, host: str, address: Address, port: int) -> None:
        carried = carried_v4(address) if isinstance(address, IPv6Address) else None
        if port in self._own_ports and any(is_local(a) for a in (address, carried) if a is not None):
            raise EgressRefused(f"{host} port {port} is Chronos itself; a job may not call it", host=host)
        kind = kind_of(address)
        if not self._may(address, kind):
            raise EgressRefused(
                f"{host} is at {address}, a {kind} address; this server calls {self._rule()}. "
                "An administrator can allow a network under dispatcher.egress.allow.",
                host=host,
                address=str(address),
            )

    def _may(self, address: Address, kind: AddressKind) -> bool:
        policy = self._settings.policy
        if kind in _ALLOWED[policy]:
            return True
        if kind in _NEVER:
            return False
        if kind is AddressKind.LOOPBACK and policy is EgressPolicy.PRIVATE_OK and self._settings.loopback:
            return True
        return any(address in network for network in self._allow)

    def _rule(self) -> str:
        if self._settings.policy is EgressPolicy.PUBLIC_ONLY:
            return "public addresses only"
        return "public and private addresses" + (", and loopback" if self._settings.loopback else "")


class SystemLookup:
    """The system's resolver, on threads of its own so that a hanging look-up starves nobody else."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._slots = asyncio.Semaphore(LOOKUPS_MAX)

    async def __call__(self, host: str, port: int) -> list[str]:
        await self._slots.acquire()
        threads = self._threads = self._threads or ThreadPoolExecutor(LOOKUPS_MAX, thread_name_prefix="lookup")
        answer = asyncio.get_running_loop().run_in_executor(threads, _getaddrinfo, host, port)
        # The slot is given back when the look-up ends, not when its caller has lost patience.
        answer.add_done_callback(self._give_back)
        return await asyncio.shield(answer)

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def _give_back(self, answer: asyncio.Future[list[str]]) -> None:
        self._slots.release()
        if not answer.cancelled():
            answer.exception()  # looked at, so that an abandoned failure is not reported as unseen


def is_local(address: Address) -> bool:
    """Whether `address` belongs to this machine."""
    if kind_of(address) in (AddressKind.LOOPBACK, AddressKind.UNSPECIFIED):
        return True
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        # The kernel lets a socket be bound to this machine's addresses only; nothing is sent.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _getaddrinfo(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _words(failed: OSError | UnicodeError) -> str:
    return getattr(failed, "strerror", None) or str(failed)
