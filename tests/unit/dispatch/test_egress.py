"""Which addresses may be called."""

from __future__ import annotations

import asyncio
import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.dispatch.addresses import NAT64_LENGTHS, AddressKind, carried_v4, kind_of
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
# What lies in 64:ff9b:1::/48 is 0.0.0.0 to some network or other, unless a setting says how it is read here.
UNSPECIFIED = ["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "64:ff9b:1::7f00:1", "64:ff9b:1:7f00:0:100::"]
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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
@virtual_time
async def test_own_ports_are_refused_at_every_local_address_and_by_every_policy(host: str) -> None:
    opened = guard(EgressPolicy.OPEN)
    opened.forbid_port(8080)
    assert not await resolves(opened, host, 8080)
    assert await resolves(opened, host, 8081)
    assert await resolves(opened, "8.8.8.8", 8080)


@pytest.mark.parametrize(("text", "kind"), TABLE)
@virtual_time
async def test_open_is_open_but_for_what_no_job_ever_has_to_call(text: str, kind: AddressKind) -> None:
    never = {AddressKind.METADATA, AddressKind.MULTICAST, AddressKind.UNSPECIFIED}
    assert await resolves(guard(EgressPolicy.OPEN), text) is (kind not in never)


@pytest.mark.parametrize(("text", "kind"), TABLE)
@pytest.mark.parametrize("policy", list(EgressPolicy))
@virtual_time
async def test_what_the_administrator_names_may_be_near_whatever_the_policy(
    text: str, kind: AddressKind, policy: EgressPolicy
) -> None:
    allowed = {AddressKind.PUBLIC, AddressKind.PRIVATE, AddressKind.LOOPBACK}
    if policy is EgressPolicy.OPEN:
        allowed |= {AddressKind.LINK_LOCAL, AddressKind.RESERVED}
    asked = guard(policy, text, loopback=False)
    asked.forbid_port(8080)
    try:
        await asked.vetted("relay.test", 25, by_administrator=True)
    except EgressRefused:
        assert kind not in allowed
    else:
        assert kind in allowed
    if kind is AddressKind.LOOPBACK:
        with pytest.raises(EgressRefused, match="is Chronos itself"):
            await asked.vetted("relay.test", 8080, by_administrator=True)


@pytest.mark.parametrize(
    ("prefix", "text"),
    [
        # 192.0.2.33 in RFC 6052, section 2.4; here 10.0.0.33 in the same places.
        ("2001:db8::/32", "2001:db8:a00:21::"),
        ("2001:db8:100::/40", "2001:db8:10a:0:21::"),
        ("2001:db8:122::/48", "2001:db8:122:a00:0:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:30a:0:21::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:a:0:2100:0"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::10.0.0.33"),
        ("64:ff9b:1::/48", "64:ff9b:1:a00:0:2100::"),
        ("64:ff9b:1:fffe::/96", "64:ff9b:1:fffe::10.0.0.33"),
    ],
)
@virtual_time
async def test_an_address_behind_this_network_s_own_nat64_is_what_it_carries(prefix: str, text: str) -> None:
    assert carried_v4(IPv6Address(text), [IPv6Network(prefix)]) == [IPv4Address("10.0.0.33")]
    assert kind_of(IPv6Address(text), [IPv6Network(prefix)]) is AddressKind.PRIVATE
    assert await resolves(guard(EgressPolicy.PRIVATE_OK, text, nat64=[prefix]), "name.test")
    assert not await resolves(guard(EgressPolicy.PUBLIC_ONLY, text, nat64=[prefix]), "name.test")


@given(st.integers(0, 2**32 - 1), st.sampled_from(NAT64_LENGTHS))
def test_every_way_to_embed_an_address_is_read_back(number: int, length: int) -> None:
    """The other way round, byte by byte as RFC 6052 draws it."""
    octets = list(IPv6Address("2001:db8::").packed[: length // 8])
    for octet in IPv4Address(number).packed:
        if len(octets) == 8 and length < 96:
            octets.append(0)
        octets.append(octet)
    address = IPv6Address(bytes(octets + [0] * (16 - len(octets))))
    prefix = IPv6Network((int.from_bytes(address.packed[: length // 8]) << (128 - length), length))
    assert carried_v4(address, [prefix]) == [IPv4Address(number)]


@given(st.integers(0, 2**80 - 1))
def test_no_reading_of_a_local_nat64_address_reaches_what_is_forbidden(low: int) -> None:
    """Whoever picks the address must not be able to hide one reading behind another."""
    address = IPv6Address(int(IPv6Address("64:ff9b:1::")) + low)
    readings = {kind_of(inner) for inner in carried_v4(address)}
    if kind_of(address) is AddressKind.PRIVATE:
        assert readings <= {AddressKind.PRIVATE, AddressKind.PUBLIC}
    assert kind_of(address) is not AddressKind.PUBLIC


def test_a_nat64_prefix_that_is_none_is_refused_at_the_start() -> None:
    for wrong in ("10.0.0.0/8", "2001:db8::/33", "nonsense"):
        with pytest.raises(ConfigInvalid, match=r"dispatcher\.egress\.nat64"):
            EgressGuard(EgressSettings(nat64=[wrong]))


def test_without_a_descriptor_to_ask_with_an_address_counts_as_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", no_more)
    assert is_local(ip_address("192.0.2.1"))


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
    with pytest.raises(
        EgressRefused, match=r"at 10\.0\.0\.1, a private address; .*only \(public-only\).*`10\.0\.0\.1/32` to"
    ):
        await guard(EgressPolicy.PUBLIC_ONLY, "10.0.0.1").vetted("intern.test", 80)
    with pytest.raises(EgressRefused, match=r"::ffff:a00:1 \(which carries 10\.0\.0\.1\)"):
        await guard(EgressPolicy.PUBLIC_ONLY, "::ffff:10.0.0.1").vetted("intern.test", 80)
    with pytest.raises(EgressRefused, match=r"a cloud metadata address; .* no setting allows them"):
        await guard(EgressPolicy.OPEN, "169.254.169.254").vetted("intern.test", 80)
    with pytest.raises(EgressRefused, match=r"dispatcher\.egress\.nat64"):
        await guard(EgressPolicy.PRIVATE_OK, "64:ff9b:1::a00:1").vetted("intern.test", 80)


def test_the_system_s_resolver_knows_localhost() -> None:
    async def main() -> list[str]:
        real = EgressGuard()
        try:
            return await real.vetted("localhost", 80)
        finally:
            real.close()
            real.close()

    assert set(asyncio.run(main())) <= {"127.0.0.1", "::1"}
