"""Standard Webhooks: what secrets look like, and the signatures made with them.

A signing secret is one or more of these, with blanks in between; every one signs, so that receivers can change over
one by one:

    whsec_<base64 of 24 to 64 bytes>          HMAC-SHA-256, signature `v1,…`; the receiver has the same secret
    whsk_<base64 of a private key>            ed25519, signature `v1a,…`; the receiver has `whpk_<base64>`
    whsec_…;until=2027-01-01T00:00:00Z        signs until then

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from chronos.timing.clock import Chance

SHARED_PREFIX = "whsec_"
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"

SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64
SECRETS_MAX = 4
"""How many secrets sign one request."""

_SEED_BYTES = 32
_UNTIL = ";until="


class SigningKey(Struct, frozen=True):
    """A secret, ready to sign.

    Attributes:
        version: `v1` or `v1a`.
        material: The shared secret, or the seed of the private key.
        until_s: Seconds since the epoch from which on it no longer signs; None means for ever.
    """

    version: str
    material: bytes
    until_s: int | None = None

    def __repr__(self) -> str:
        return f"SigningKey({self.version}, until_s={self.until_s})"

    def sign(self, content: bytes) -> str:
        """Return one signature, like `v1,K5oZ…`."""
        if self.version == "v1a":
            raw = Ed25519PrivateKey.from_private_bytes(self.material).sign(content)
        else:
            raw = hmac.digest(self.material, content, "sha256")
        return f"{self.version},{base64.b64encode(raw).decode()}"


class VerifyingKey(Struct, frozen=True):
    """What a receiver has: the shared secret (`v1`) or the public key (`v1a`)."""

    version: str
    material: bytes

    def __repr__(self) -> str:
        return f"VerifyingKey({self.version})"

    def matches(self, content: bytes, signature: bytes) -> bool:
        """Whether `signature` (raw, without its version) was made for `content`. Takes as long for a wrong one."""
        if self.version == "v1":
            return hmac.compare_digest(hmac.digest(self.material, content, "sha256"), signature)
        try:
            Ed25519PublicKey.from_public_bytes(self.material).verify(signature, content)
        except InvalidSignature:
            return False
        return True


def signing_keys(text: str) -> list[SigningKey]:
    """Return the keys in a signing secret, in order.

    Raises:
        ValueError: It holds none or more than four, one is no key, or all of them end.
    """
    keys = [_signing_key(word) for word in text.split()]
    if not keys:
        raise ValueError("must look like whsec_<base64> or whsk_<base64>")
    if len(keys) > SECRETS_MAX:
        raise ValueError(f"must hold at most {SECRETS_MAX} secrets, not {len(keys)}")
    if all(key.until_s is not None for key in keys):
        raise ValueError("must hold a secret without `until`: nothing would sign after the last one ends")
    return keys


def signatures(keys: Iterable[SigningKey], message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of `webhook-signature` for exactly these bytes: one for each key that still signs."""
    content = signed_content(message_id, timestamp_s, body)
    return " ".join(key.sign(content) for key in keys if key.until_s is None or timestamp_s < key.until_s)


def signed_content(message_id: str, timestamp_s: int, body: bytes) -> bytes:
    """Return what is signed."""
    return f"{message_id}.{timestamp_s}.".encode() + body


def verifying_key(text: str) -> VerifyingKey:
    """Return the key in `whsec_…` or `whpk_…`.

    Raises:
        ValueError: It is neither.
    """
    if text.startswith(PRIVATE_PREFIX):
        raise ValueError("is a private key; a receiver needs the public one, whpk_…")
    if not text.startswith(PUBLIC_PREFIX):
        return VerifyingKey("v1", _shared(text))
    raw = _decoded(text, PUBLIC_PREFIX)
    if len(raw) != _SEED_BYTES:
        raise ValueError(f"must hold {_SEED_BYTES} bytes after {PUBLIC_PREFIX}, not {len(raw)}")
    return VerifyingKey("v1a", raw)


def new_shared_secret(chance: Chance) -> str:
    """Return a fresh `whsec_…`."""
    return SHARED_PREFIX + base64.b64encode(chance.bytes(32)).decode()


def new_key_pair(chance: Chance) -> tuple[str, str]:
    """Return a fresh private key `whsk_…` and its public key `whpk_…`."""
    seed = chance.bytes(_SEED_BYTES)
    public = _public_half(seed)
    return (
        PRIVATE_PREFIX + base64.b64encode(seed + public).decode(),
        PUBLIC_PREFIX + base64.b64encode(public).decode(),
    )


def public_key_of(private: str) -> str:
    """Return the `whpk_…` that belongs to a `whsk_…`.

    Raises:
        ValueError: It is no private key.
    """
    return PUBLIC_PREFIX + base64.b64encode(_public_half(_seed(private))).decode()


def _signing_key(word: str) -> SigningKey:
    secret, ends, until = word.partition(_UNTIL)
    until_s = _instant(until) if ends else None
    if secret.startswith(PRIVATE_PREFIX):
        return SigningKey("v1a", _seed(secret), until_s)
    return SigningKey("v1", _shared(secret), until_s)


def _shared(text: str) -> bytes:
    key = _decoded(text, SHARED_PREFIX)
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise ValueError(f"must hold {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes after whsec_, not {len(key)}")
    return key


def _seed(text: str) -> bytes:
    """Return the seed of a private key; upstream writes it with the public key behind it, which has to match."""
    raw = _decoded(text, PRIVATE_PREFIX)
    seed, public = raw[:_SEED_BYTES], raw[_SEED_BYTES:]
    if len(seed) != _SEED_BYTES or (public and public != _public_half(seed)):
        raise ValueError(f"must hold a private ed25519 key after {PRIVATE_PREFIX}: 32 bytes, or 64 with its public key")
    return seed


def _public_half(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _decoded(text: str, prefix: str) -> bytes:
    if not text.startswith(prefix):
        raise ValueError(f"must look like {prefix}<base64>")
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"must be base64 after {prefix}") from None


def _instant(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"has `until={text}`, which is no instant like 2027-01-01T00:00:00Z") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
