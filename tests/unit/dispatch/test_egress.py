"""Which addresses may be called."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.dispatch.addresses import AddressKind, kind_of
from chronos.dispatch.egress import EgressGuard, EgressPolicy, EgressSettings, LookupFailed, is_local
from chronos.errors import ConfigInvalid, EgressRefused
from chronos.testing import virtual_time

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "2606:4700::1111",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]
PRIVATE = ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "198.18.0.1", "fd12::1", "fc00::1"]
LOOPBACK = [
    "127.0.0.1",
    "127.255.255.254",
    "::1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::1",
    "::ffff:0:127.0.0.1",
]
LINK_LOCAL = ["169.254.1.1", "fe80::1", "febf::1", "::ffff:169.254.1.1"]
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
]
MULTICAST = ["224.0.0.1", "239.255.255.250", "255.255.255.255", "ff02::1", "ff0e::1"]
UNSPECIFIED = ["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"]
RESERVED = [
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "192.88.99.1",
    "192.0.0.8",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "fec0::1",
    "2001::1",
    "100::1",
    "2002:808:808::1",
    "::8.8.8.8",
    "4000::1",
]
TABLE = [
    (text, kind)
    for kind, texts in {
        AddressKind.PUBLIC: PUBLIC,
        AddressKind.PRIVATE: PRIVATE,
        AddressKind.LOOPBACK: LOOPBACK,
        AddressKind.LINK_LOCAL: LINK_LOCAL,
        AddressKind.METADATA: METADATA,
        AddressKind.MULTICAST: MULTICAST,
        AddressKind.UNSPECIFIED: UNSPECIFIED,
        AddressKind.RESERVED: RESERVED,
    }.items()
    for text in texts
]


async def resolves(guard: EgressGuard, host: str, port: int = 80) -> bool:
    try:
        await guard.vetted(host, port)
    except EgressRefused:
        return False
    return True


def guard(policy: EgressPolicy, *addresses: str, **fields: object) -> EgressGuard:
    async def lookup(host: str, port: int) -> list[str]:
        return list(addresses)

    return EgressGuard(EgressSettings(policy=policy, **fields), lookup=lookup)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "kind"), TABLE)
def test_an_address_is_what_it_leads_to(text: str, kind: AddressKind) -> None:
    assert kind_of(ip_address(text)) is kind


@given(st.integers(0, 2**32 - 1))
def test_a_v4_address_inside_a_v6_one_is_never_more_public_than_itself(number: int) -> None:
    inner = kind_of(IPv4Address(number))
    nat64 = int(IPv6Address("64:ff9b::")) + number
    for carrier in (0xFFFF << 32 | number, nat64, 0x2002 << 112 | number << 80, number):
        outer = kind_of(IPv6Address(carrier))
        assert outer is not AddressKind.PUBLIC or inner is AddressKind.PUBLIC


@given(st.integers(0, 2**128 - 1))
def test_only_global_unicast_and_carried_addresses_are_public(number: int) -> None:
    address = IPv6Address(number)
    if kind_of(address) is AddressKind.PUBLIC:
        assert number >> 125 == 1 or number >> 32 in (0xFFFF, 0x64FF9B << 72)


@pytest.mark.parametrize(("text", "kind"), TABLE)
@virtual_time
async def test_public_only_lets_nothing_else_through(text: str, kind: AddressKind) -> None:
    assert await resolves(guard(EgressPolicy.PUBLIC_ONLY), text) is (kind is AddressKind.PUBLIC)
    assert await resolves(guard(EgressPolicy.PUBLIC_ONLY, text), "name.test") is (kind is AddressKind.PUBLIC)


@pytest.mark.parametrize(("text", "kind"), TABLE)
@pytest.mark.parametrize("loopback", [True, False])
@virtual_time
async def test_private_ok_lets_private_through_and_loopback_only_where_allowed(
    text: str, kind: AddressKind, loopback: bool
) -> None:
    allowed = {AddressKind.PUBLIC, AddressKind.PRIVATE} | ({AddressKind.LOOPBACK} if loopback else set())
    assert await resolves(guard(EgressPolicy.PRIVATE_OK, loopback=loopback), text) is (kind in allowed)


@virtual_time
async def test_one_forbidden_address_of_a_name_forbids_the_name() -> None:
    mixed = guard(EgressPolicy.PUBLIC_ONLY, "8.8.8.8", "127.0.0.1")
    assert not await resolves(mixed, "mixed.test")


@virtual_time
async def test_an_administrator_may_allow_a_network_but_not_metadata_or_multicast() -> None:
    allowed = guard(EgressPolicy.PUBLIC_ONLY, allow=["10.1.0.0/16", "169.254.0.0/16", "0.0.0.0/0"])
    assert await resolves(allowed, "10.1.2.3")
    assert await resolves(allowed, "169.254.7.7")
    for never in ("169.254.169.254", "224.0.0.1", "0.0.0.0"):
        assert not await resolves(allowed, never)


def test_a_network_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigInvalid, match=r"dispatcher\.egress\.allow"):
        EgressGuard(EgressSettings(allow=["10.1.0.1/16"]))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"])
@virtual_time
async def test_own_ports_are_refused_at_every_local_address_and_by_every_policy(host: str) -> None:
    opened = guard(EgressPolicy.OPEN)
    opened.forbid_port(8080)
    assert not await resolves(opened, host, 8080)
    assert await resolves(opened, host, 8081)
    assert await resolves(opened, "8.8.8.8", 8080)


def test_this_machine_s_addresses_are_local_and_others_are_not() -> None:
    assert is_local(ip_address("127.0.0.1"))
    assert not is_local(ip_address("192.0.2.1"))


@virtual_time
async def test_a_look_up_that_hangs_ends_in_time() -> None:
    async def hang(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(LookupFailed, match="5 s"):
        await EgressGuard(lookup=hang).vetted("slow.test", 80)


@virtual_time
async def test_a_name_without_addresses_is_no_success() -> None:
    with pytest.raises(LookupFailed, match="no address"):
        await guard(EgressPolicy.OPEN).vetted("empty.test", 80)


@virtual_time
async def test_a_refusal_says_what_the_address_is_and_what_to_do() -> None:
    with pytest.raises(EgressRefused, match=r"intern\.test is at 10\.0\.0\.1, a private address.*egress\.allow"):
        await guard(EgressPolicy.PUBLIC_ONLY, "10.0.0.1").vetted("intern.test", 80)


def test_the_system_s_resolver_knows_localhost() -> None:
    async def main() -> list[str]:
        real = EgressGuard()
        try:
            return await real.vetted("localhost", 80)
        finally:
            real.close()
            real.close()

    assert set(asyncio.run(main())) <= {"127.0.0.1", "::1"}
