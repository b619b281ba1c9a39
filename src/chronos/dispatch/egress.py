"""The egress guard: look a name up once, vet every address it has, and connect to nothing else.

Every connection goes through `vetted`: first requests, redirects, cancel and probe URLs, notices and their mail relay.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from msgspec import Struct, field

from chronos.dispatch.addresses import Address, AddressKind, carried_v4, kind_of, parse_nat64, parse_networks
from chronos.dispatch.lookup import SystemLookup
from chronos.dispatch.right import RightToSend
from chronos.errors import ConfigInvalid, EgressRefused

ADDRESSES_MAX = 8
"""How many addresses of a name are vetted and tried; a name with more is cut."""


class EgressPolicy(StrEnum):
    """Which addresses may be called."""

    OPEN = "open"
    PRIVATE_OK = "private-ok"
    PUBLIC_ONLY = "public-only"


class EgressSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where deliveries may go.

    Multicast, unspecified and metadata addresses are refused whatever is set here, and so are Chronos' own ports.

    Attributes:
        policy: `public-only` allows public addresses; `private-ok` private ones as well; `open` also loopback,
            link-local and reserved ones.
        allow: Networks allowed besides, like `10.1.0.0/16`.
        loopback: Whether `private-ok` allows loopback: only where the server itself listens on nothing else.
        nat64: Prefixes of this network's own NAT64, like `2001:db8:64::/96`: an address in one of them is what
            it carries. `64:ff9b::/96` is known.
        lookup_timeout_s: Bounds one name look-up.
    """

    policy: EgressPolicy = EgressPolicy.PRIVATE_OK
    allow: list[str] = field(default_factory=list)
    loopback: bool = True
    nat64: list[str] = field(default_factory=list)
    lookup_timeout_s: float = 5.0


class LookupFailed(Exception):
    """The name has no address, or nobody said in time."""


Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Returns a name's addresses, best first. Raises `OSError` when there are none."""

_NEVER = frozenset({AddressKind.MULTICAST, AddressKind.UNSPECIFIED, AddressKind.METADATA})
_NOT_OURS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL})
_NEAR = frozenset({AddressKind.PRIVATE, AddressKind.LOOPBACK})
_ALLOWED = {
    EgressPolicy.OPEN: frozenset(AddressKind) - _NEVER,
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
        self,
        settings: EgressSettings | None = None,
        *,
        own_ports: Iterable[int] = (),
        lookup: Lookup | None = None,
        right: RightToSend | None = None,
    ) -> None:
        self.right = right
        self._settings = settings or EgressSettings()
        self._own_ports = set(own_ports)
        self._system = None if lookup else SystemLookup()
        self._lookup: Lookup = lookup or self._system  # type: ignore[assignment]
        try:
            self._allow = parse_networks(self._settings.allow)
        except ValueError as wrong:
            raise ConfigInvalid(f"dispatcher.egress.allow: {wrong}") from None
        try:
            self._nat64 = parse_nat64(self._settings.nat64)
        except ValueError as wrong:
            raise ConfigInvalid(f"dispatcher.egress.nat64: {wrong}") from None

    def forbid_port(self, port: int) -> None:
        """From now on, refuse `port` at every address of this machine."""
        self._own_ports.add(port)

    @property
    def own_ports(self) -> list[int]:
        """The ports that are refused at every address of this machine, ascending."""
        return sorted(self._own_ports)

    async def vetted(self, host: str, port: int, *, by_administrator: bool = False) -> list[str]:
        """Return the addresses to connect to, best first; one look-up, and every answer is vetted.

        Args:
            by_administrator: The place stands in the server's own configuration, like its mail relay: private
                and loopback addresses are allowed then.

        Raises:
            EgressRefused: The name has an address that may not be called, even if others may.
            LookupFailed: It has none, or the look-up took too long.
        """
        addresses = await self._addresses(host, port)
        for address in addresses:
            self._vet(host, address, port, by_administrator=by_administrator)
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

    def _vet(self, host: str, address: Address, port: int, *, by_administrator: bool) -> None:
        carried = carried_v4(address, self._nat64) if isinstance(address, IPv6Address) else []
        if port in self._own_ports and any(map(is_local, (address, *carried))):
            raise EgressRefused(
                f"{host} is at {address}, this machine, and port {port} is Chronos itself; no job may call it",
                host=host,
                address=str(address),
            )
        kind = kind_of(address, self._nat64)
        if by_administrator and kind in _NEAR:
            return
        if not self._may(address, kind):
            raise EgressRefused(
                f"{host} is at {_described(address, carried, kind)}; {self._rule(address, kind, carried)}",
                host=host,
                address=str(address),
            )

    def _may(self, address: Address, kind: AddressKind) -> bool:
        policy = self._settings.policy
        if kind in _NEVER:
            return False
        if kind in _ALLOWED[policy]:
            return True
        if kind is AddressKind.LOOPBACK and policy is EgressPolicy.PRIVATE_OK and self._settings.loopback:
            return True
        return any(address in network for network in self._allow)

    def _rule(self, address: Address, kind: AddressKind, carried: list[IPv4Address]) -> str:
        if len(carried) > 1:
            return "what it carries depends on this network's NAT64: name its prefix in dispatcher.egress.nat64."
        if kind in _NEVER:
            return f"{kind} addresses are never called, and no setting allows them."
        if self._settings.policy is EgressPolicy.PUBLIC_ONLY:
            calls = "public addresses only"
        else:
            calls = "public and private addresses" + (", and loopback" if self._settings.loopback else "")
        return (
            f"this server calls {calls} ({self._settings.policy}). "
            f"An administrator can allow it: add `{ip_network(address)}` to dispatcher.egress.allow."
        )


def is_local(address: Address) -> bool:
    """Whether `address` belongs to this machine."""
    if kind_of(address) in (AddressKind.LOOPBACK, AddressKind.UNSPECIFIED):
        return True
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        # The kernel lets a socket be bound to this machine's addresses only; nothing is sent.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError as failed:
        # Without a socket to ask with (no descriptors left, say), it may well be.
        return failed.errno not in _NOT_OURS
    return True


def _described(address: Address, carried: list[IPv4Address], kind: AddressKind) -> str:
    inside = f" (which carries {carried[0]})" if carried else ""
    return f"{address}{inside}, a {kind} address"


def _words(failed: OSError | UnicodeError) -> str:
    return getattr(failed, "strerror", None) or str(failed)
