"""What kind of address an IP address is.

The standard library's `is_global` is not asked: depending on its version it calls `64:ff9b::7f00:1`
(127.0.0.1 behind NAT64), `2002:7f00:1::1` (behind 6to4) or `224.0.0.1` global, and `100.64.0.1` not private.
"""

from __future__ import annotations

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

# IPv6 networks that carry an IPv4 address, and how many bits lie to its right.
_CARRIERS = [
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("64:ff9b:1::/48"), 0),
    (IPv6Network("2002::/16"), 80),
    (IPv6Network("::/96"), 0),
]


def kind_of(address: Address) -> AddressKind:
    """Return what `address` is; an IPv6 address that carries an IPv4 one is what it carries.

    A carried public address in a carrier that is not routed publicly is `RESERVED`.
    """
    if str(address) in _METADATA:
        return AddressKind.METADATA
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _V4 if address in network), AddressKind.PUBLIC)
    if int(address) > 1 and (carried := carried_v4(address)) is not None:
        return _carried_kind(address, kind_of(carried))
    return next(kind for network, kind in _V6 if address in network)


def carried_v4(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address inside a mapped, translated, NAT64, 6to4 or compatible IPv6 address."""
    for network, shift in _CARRIERS:
        if address in network:
            return IPv4Address((int(address) >> shift) & 0xFFFFFFFF)
    return None


def parse_networks(texts: list[str]) -> list[IPv4Network | IPv6Network]:
    """Return `texts` as networks.

    Raises:
        ValueError: One is not a network like `10.1.0.0/16`.
    """
    return [ip_network(text) for text in texts]


def _carried_kind(address: IPv6Address, kind: AddressKind) -> AddressKind:
    mapped_or_nat64 = address in _CARRIERS[0][0] or address in _CARRIERS[2][0]
    if kind is AddressKind.PUBLIC and not mapped_or_nat64:
        return AddressKind.RESERVED
    return kind
