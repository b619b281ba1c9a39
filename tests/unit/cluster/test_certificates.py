"""What stands in a cluster's certificates, and who they are good for."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from chronos.cluster.certificates import (
    CertificateUnusable,
    Pair,
    issue,
    make_authority,
    name_in_certificate,
    named,
    read_certificate,
    show,
)
from chronos.cluster.peers.tls import identity_in
from chronos.timing.clock import SeededChance

CLUSTER = "6e6f6465-0000-4000-8000-000000000001"
NOW = datetime(2027, 1, 1, 12, 0, 0, tzinfo=UTC)
CHANCE = SeededChance(random.Random(7))


@pytest.fixture(scope="module")
def authority() -> Pair:
    return make_authority("prod", now=NOW, chance=CHANCE)


def issued(authority: Pair, *hosts: str, key: bytes = b"", now: datetime = NOW) -> Pair:
    return issue(authority, CLUSTER, "n1", list(hosts) or ["10.0.0.1"], now=now, chance=CHANCE, key=key)


def test_the_authority_lasts_ten_years_and_signs_nodes_only(authority: Pair) -> None:
    made = x509.load_pem_x509_certificate(authority.certificate)

    constraints = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert isinstance(made.public_key(), ec.EllipticCurvePublicKey)
    assert show(authority.certificate).not_after - NOW >= timedelta(days=3_652)
    assert show(authority.certificate).node == ""


def test_a_node_is_good_for_both_ends_and_valid_from_an_hour_ago(authority: Pair) -> None:
    pair = issued(authority)
    made = x509.load_pem_x509_certificate(pair.certificate)
    uses = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value

    assert {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(uses)
    assert made.not_valid_before_utc == NOW - timedelta(hours=1)
    assert timedelta(days=365) <= made.not_valid_after_utc - NOW <= timedelta(days=366)
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))


def test_a_node_is_known_by_its_name_and_reached_at_its_hosts(authority: Pair) -> None:
    said = show(issued(authority, "cron1.example.org", "fd00::1").certificate)

    assert (said.cluster, said.node, said.subject) == (CLUSTER, "n1", "n1")
    assert said.hosts == ["cron1.example.org", "fd00::1", "localhost", "127.0.0.1"]


def test_a_renewed_certificate_keeps_its_key(authority: Pair) -> None:
    before = issued(authority)
    after = issued(authority, key=before.key, now=NOW + timedelta(days=300))

    assert after.key == before.key
    assert show(after.certificate).not_after > show(before.certificate).not_after
    public = [x509.load_pem_x509_certificate(one.certificate).public_key() for one in (before, after)]
    assert public[0] == public[1]


def test_no_certificate_outlives_its_authority(authority: Pair) -> None:
    late = NOW + timedelta(days=3_500)
    assert show(issued(authority, now=late).certificate).not_after == show(authority.certificate).not_after
    with pytest.raises(CertificateUnusable, match="expired"):
        issued(authority, now=NOW + timedelta(days=4_000))


def test_a_key_that_is_not_the_authoritys_signs_nothing(authority: Pair) -> None:
    other = make_authority("other", now=NOW, chance=CHANCE)
    with pytest.raises(CertificateUnusable, match="does not belong"):
        issued(Pair(authority.certificate, other.key))
    with pytest.raises(CertificateUnusable, match="damaged"):
        issued(Pair(authority.certificate, b"-----BEGIN PRIVATE KEY-----"))


def test_a_pair_never_shows_its_key(authority: Pair) -> None:
    assert "PRIVATE" not in repr(authority)


@pytest.mark.parametrize(
    "address", ["", "chronos://", "chronos://c", "chronos://c/", "chronos:///n", "chronos://c/n/m", "https://c/n"]
)
def test_an_address_that_names_no_node_names_nobody(address: str) -> None:
    assert named(address) is None
    assert named(name_in_certificate("c", "n")) == ("c", "n")


def test_a_certificate_with_two_names_or_none_names_nobody() -> None:
    one, other = ("URI", "chronos://c/n1"), ("URI", "chronos://c/n2")
    assert identity_in({"subjectAltName": (("DNS", "x"), one)}) == ("c", "n1")
    assert identity_in({"subjectAltName": (one, other)}) is None
    assert identity_in({"subjectAltName": (("DNS", "chronos://c/n1"),)}) is None
    assert identity_in({}) is None
    assert identity_in(None) is None


def test_a_file_without_a_certificate_is_said_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(CertificateUnusable, match=r"a\.crt cannot be read"):
        read_certificate(tmp_path / "a.crt")
    (tmp_path / "a.crt").write_bytes(b"nothing")
    with pytest.raises(CertificateUnusable, match=r"a\.crt holds no certificate"):
        read_certificate(tmp_path / "a.crt")
