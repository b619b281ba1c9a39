"""A cluster's own authority, and the certificates of its members: who may speak with them, and under which name.

A member's name stands in its certificate as an address of its own, `chronos://CLUSTER/NODE`: a certificate of another
cluster is refused even if the same authority signed it, and moving a node to another host changes nobody's name.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from chronos.errors import Unprocessable
from chronos.timing.clock import Chance

CA_LIFE = timedelta(days=3_653)
NODE_LIFE = timedelta(days=366)
BACKDATED = timedelta(hours=1)
"""A certificate is valid from before it was made: the clocks of two hosts are never quite the same."""

LOCAL_NAMES = ("localhost", "127.0.0.1")
"""In every certificate: the engine is reached on its own host."""

_SCHEME = "chronos://"
_SERIAL_BYTES = 16


class CertificateUnusable(Unprocessable):
    """The certificate or the key cannot be used."""


class Pair(Struct, frozen=True):
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Pair(certificate, key)"


class Shown(Struct, frozen=True, kw_only=True):
    """What a certificate says.

    Attributes:
        node: The member it belongs to, and its cluster's uuid; empty for the authority's own.
        hosts: The names and addresses at which it may be shown.
        fingerprint: SHA-256 of the certificate, hex.
    """

    subject: str
    node: str
    cluster: str
    hosts: list[str]
    not_before: datetime
    not_after: datetime
    fingerprint: str


def name_in_certificate(cluster: str, node: str) -> str:
    """Return the address under which a member stands in its certificate."""
    return f"{_SCHEME}{cluster}/{node}"


def named(address: str) -> tuple[str, str] | None:
    """Return cluster and node of such an address; None when it is another kind of address."""
    cluster, slash, node = address.removeprefix(_SCHEME).partition("/")
    is_one = address.startswith(_SCHEME) and slash and cluster and node and "/" not in node
    return (cluster, node) if is_one else None


def make_authority(name: str, *, now: datetime, chance: Chance) -> Pair:
    """Return a new authority for the cluster `name`; EC P-256, ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"{name} Chronos CA")
    builder = _begun(subject, subject, key.public_key(), now, CA_LIFE, chance)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return Pair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def issue(
    authority: Pair, cluster: str, node: str, hosts: list[str], *, now: datetime, chance: Chance, key: bytes = b""
) -> Pair:
    """Return a certificate for a member, valid for a year and good for both ends of a connection.

    Args:
        hosts: Names and addresses of its host; `LOCAL_NAMES` are added.
        key: Its private key (PEM), to be kept; empty makes a new one.

    Raises:
        CertificateUnusable: The authority, or the key, is damaged.
    """
    own = _read_key(key) if key else ec.generate_private_key(ec.SECP256R1())
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    signed = _signed(authority, cluster, node, hosts, own.public_key(), both, NODE_LIFE, now, chance)
    return Pair(signed, _key_pem(own))


def issue_for(
    authority: Pair, cluster: str, node: str, hosts: list[str], asked: bytes, *, now: datetime, chance: Chance
) -> bytes:
    """Return a certificate (PEM) like that of `issue` for somebody who keeps the private key to himself.

    Args:
        asked: A request for a certificate, or an earlier certificate, PEM. Nothing but the public key is taken from
            it: which names it may have is not for who asks to say.

    Raises:
        CertificateUnusable: That, or the authority, is damaged.
    """
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return _signed(authority, cluster, node, hosts, _asked_key(asked), both, NODE_LIFE, now, chance)


def issue_server(
    authority: Pair, cluster: str, name: str, hosts: list[str], life: timedelta, *, now: datetime, chance: Chance
) -> Pair:
    """Return a certificate that is good for answering only, and no member's."""
    own = ec.generate_private_key(ec.SECP256R1())
    only = [ExtendedKeyUsageOID.SERVER_AUTH]
    return Pair(_signed(authority, cluster, name, hosts, own.public_key(), only, life, now, chance), _key_pem(own))


def request(node: str) -> Pair:
    """Return a request for a certificate, and the private key that belongs to it; both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    asked = x509.CertificateSigningRequestBuilder().subject_name(_subject(node)).sign(key, hashes.SHA256())
    return Pair(asked.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def belongs_together(certificate: bytes, key: bytes, authority: bytes) -> bool:
    """Whether a certificate is of this key, and of this authority. Raises `CertificateUnusable`."""
    found = _read(certificate)
    try:
        found.verify_directly_issued_by(_read(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return found.public_key() == _read_key(key).public_key()


def _signed(
    authority: Pair,
    cluster: str,
    node: str,
    hosts: list[str],
    public: ec.EllipticCurvePublicKey,
    uses: list[x509.ObjectIdentifier],
    at_most: timedelta,
    now: datetime,
    chance: Chance,
) -> bytes:
    signer, issuer = _read_key(authority.key), _read(authority.certificate)
    if signer.public_key() != issuer.public_key():
        raise CertificateUnusable("The authority's key does not belong to its certificate.")
    life = min(at_most, issuer.not_valid_after_utc - now)
    if life <= timedelta(0):
        raise CertificateUnusable("The authority's own certificate has expired.")
    builder = _begun(_subject(node), issuer.subject, public, now, life, chance)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    names = [*(_host(each) for each in dict.fromkeys([*hosts, *LOCAL_NAMES]))]
    names.append(x509.UniformResourceIdentifier(name_in_certificate(cluster, node)))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(_public(issuer))
    builder = builder.add_extension(by, critical=False)
    return _pem(builder.sign(signer, hashes.SHA256()))


def show(certificate: bytes) -> Shown:
    """Return what a certificate (PEM) says.

    Raises:
        CertificateUnusable: It is none.
    """
    found = _read(certificate)
    hosts: list[str] = []
    identity = ("", "")
    for name in _names_of(found):
        if isinstance(name, x509.UniformResourceIdentifier):
            identity = named(name.value) or identity
        elif isinstance(name, x509.DNSName | x509.IPAddress):
            hosts.append(str(name.value))
    common = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Shown(
        subject=str(common[0].value) if common else "",
        node=identity[1],
        cluster=identity[0],
        hosts=hosts,
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        fingerprint=found.fingerprint(hashes.SHA256()).hex(),
    )


def read_certificate(path: Path) -> Shown:
    """Return what the certificate in a file says.

    Raises:
        CertificateUnusable: There is none in it.
    """
    try:
        return show(path.read_bytes())
    except OSError as exc:
        raise CertificateUnusable(f"{path} cannot be read: {(exc.strerror or str(exc)).lower()}.") from exc
    except CertificateUnusable as exc:
        raise CertificateUnusable(f"{path} holds no certificate.") from exc


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
    chance: Chance,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(int.from_bytes(chance.bytes(_SERIAL_BYTES)) | 1)
        .not_valid_before((now - BACKDATED).replace(microsecond=0))
        .not_valid_after((now + life).replace(microsecond=0))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Chronos"), x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _names_of(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, ValueError):
        return []


def _public(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    public = certificate.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise CertificateUnusable("The authority is not one that `chronos cluster init` has made.")
    return public


def _asked_key(asked: bytes) -> ec.EllipticCurvePublicKey:
    try:
        found: x509.CertificateSigningRequest | x509.Certificate
        if b"REQUEST" in asked[:40]:
            found = x509.load_pem_x509_csr(asked)
            if not found.is_signature_valid:
                raise CertificateUnusable("The request for a certificate is not signed by its own key.")
        else:
            found = x509.load_pem_x509_certificate(asked)
        public = found.public_key()
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise CertificateUnusable("This is no request for a certificate.") from exc
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise CertificateUnusable("A node's key is one of EC P-256.")
    return public


def _read(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as exc:
        raise CertificateUnusable from exc


def _read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise CertificateUnusable("The private key is damaged.") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateUnusable("The private key is not one that `chronos cluster init` has made.")
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
