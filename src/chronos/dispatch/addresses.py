"""What kind of address an IP address is.

The standard library's `is_global` is not asked: depending on its version it calls `64:ff9b::7f00:1`
(127.0.0.1 behind NAT64), `2002:7f00:1::1` (behind 6to4) or `224.0.0.1` global, and `100.64.0.1` not private.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network


class AddressKind(StrEnum):
    """What answers at an address."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    METADATA = "cloud metadata"
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"
    RESERVED = "reserved"


Address = IPv4Address | IPv6Address

_METADATA = frozenset(
    {
        "169.254.169.254",  # AWS, GCP, Azure and most others
        "169.254.170.2",  # AWS ECS
        "169.254.170.23",  # AWS EKS
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's host agent, in public space
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS EKS
        "fd20:ce::254",  # GCP
    }
)

# First match wins. Source: IANA's special-purpose address registries.
_V4: list[tuple[IPv4Network, AddressKind]] = [
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", AddressKind.UNSPECIFIED),
        ("10.0.0.0/8", AddressKind.PRIVATE),
        ("100.64.0.0/10", AddressKind.PRIVATE),
        ("127.0.0.0/8", AddressKind.LOOPBACK),
        ("169.254.0.0/16", AddressKind.LINK_LOCAL),
        ("172.16.0.0/12", AddressKind.PRIVATE),
        ("192.0.0.0/24", AddressKind.RESERVED),
        ("192.0.2.0/24", AddressKind.RESERVED),
        ("192.88.99.0/24", AddressKind.RESERVED),
        ("192.168.0.0/16", AddressKind.PRIVATE),
        ("198.18.0.0/15", AddressKind.PRIVATE),
        ("198.51.100.0/24", AddressKind.RESERVED),
        ("203.0.113.0/24", AddressKind.RESERVED),
        ("224.0.0.0/4", AddressKind.MULTICAST),
        ("255.255.255.255/32", AddressKind.MULTICAST),
        ("240.0.0.0/4", AddressKind.RESERVED),
    )
]
_V6: list[tuple[IPv6Network, AddressKind]] = [
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/128", AddressKind.UNSPECIFIED),
        ("::1/128", AddressKind.LOOPBACK),
        ("fe80::/10", AddressKind.LINK_LOCAL),
        ("fc00::/7", AddressKind.PRIVATE),
        ("ff00::/8", AddressKind.MULTICAST),
        ("2001::/23", AddressKind.RESERVED),
        ("2001:db8::/32", AddressKind.RESERVED),
        ("3fff::/20", AddressKind.RESERVED),
        ("2000::/3", AddressKind.PUBLIC),
        ("::/0", AddressKind.RESERVED),
    )
]

# IPv6 networks that carry an IPv4 address, where in it, and whether what is carried may be reached that way in public.
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_CARRIERS = [
    (_MAPPED, 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (_NAT64, 0),
    (IPv6Network("2002::/16"), 80),
    (IPv6Network("::/96"), 0),
]

NAT64_LENGTHS = (32, 40, 48, 56, 64, 96)
"""How long a prefix of a network's own NAT64 may be. Source: RFC 6052, section 2.2."""

# The most dangerous first: of several readings of an address the worst one counts.
_BY_DANGER = [
    AddressKind.METADATA,
    AddressKind.UNSPECIFIED,
    AddressKind.MULTICAST,
    AddressKind.LOOPBACK,
    AddressKind.LINK_LOCAL,
    AddressKind.RESERVED,
    AddressKind.PRIVATE,
    AddressKind.PUBLIC,
]


def kind_of(address: Address, nat64: Sequence[IPv6Network] = ()) -> AddressKind:
    """Return what `address` is; an IPv6 address that carries an IPv4 one is what it carries.

    A carried public address in a carrier that is not routed publicly is `RESERVED`.

    Args:
        nat64: Prefixes of this network's own NAT64; what they carry is reached through them.
    """
    if str(address) in _METADATA:
        return AddressKind.METADATA
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _V4 if address in network), AddressKind.PUBLIC)
    if int(address) > 1 and (carried := carried_v4(address, nat64)):
        kind = min(map(kind_of, carried), key=_BY_DANGER.index)
        return AddressKind.RESERVED if kind is AddressKind.PUBLIC and not _is_routed(address, nat64) else kind
    return next(kind for network, kind in _V6 if address in network)


def carried_v4(address: IPv6Address, nat64: Sequence[IPv6Network] = ()) -> list[IPv4Address]:
    """Return what a mapped, translated, NAT64, 6to4 or compatible address carries: every reading of it there is."""
    for prefix in nat64:
        if address in prefix:
            return [_embedded(address, prefix.prefixlen)]
    if address in _NAT64_LOCAL:
        # Every network cuts its own prefix out of this one, of a length nobody can see.
        return [_embedded(address, length) for length in NAT64_LENGTHS if length >= _NAT64_LOCAL.prefixlen]
    for network, shift in _CARRIERS:
        if address in network:
            return [IPv4Address((int(address) >> shift) & 0xFFFFFFFF)]
    return []


def parse_networks(texts: list[str]) -> list[IPv4Network | IPv6Network]:
    """Return `texts` as networks.

    Raises:
        ValueError: One is not a network like `10.1.0.0/16`.
    """
    return [ip_network(text) for text in texts]


def parse_nat64(texts: list[str]) -> list[IPv6Network]:
    """Return `texts` as prefixes of a NAT64.

    Raises:
        ValueError: One is not an IPv6 network, or of a length that no NAT64 has.
    """
    prefixes = [IPv6Network(text) for text in texts]
    for prefix in prefixes:
        if prefix.prefixlen not in NAT64_LENGTHS:
            raise ValueError(f"{prefix} is no NAT64 prefix; its length must be one of {NAT64_LENGTHS}")
    return prefixes


def _is_routed(address: IPv6Address, nat64: Sequence[IPv6Network]) -> bool:
    return any(address in network for network in (_MAPPED, _NAT64, *nat64))


def _embedded(address: IPv6Address, length: int) -> IPv4Address:
    """Return the IPv4 address behind a prefix of `length` bits; bits 64 to 71 are not part of it."""
    if length == 96:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    high, low = int(address) >> 64, int(address) & ((1 << 56) - 1)
    return IPv4Address((high << 56 | low) >> (120 - length - 32) & 0xFFFFFFFF)
