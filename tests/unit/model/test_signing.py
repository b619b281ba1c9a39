"""Signatures that the upstream library accepts, and no others; keys of both kinds."""

from __future__ import annotations

import base64
import random
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from chronos.model.signing import (
    new_key_pair,
    new_shared_secret,
    public_key_of,
    signatures,
    signed_content,
    signing_keys,
    verifying_key,
)
from chronos.timing.clock import SeededChance

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OLDER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()

# The vector of the reference implementation: private key, public key, id, time, body, signature.
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
VECTOR = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
SIGNED = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="

EXPIRY_S = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())


def headers(value: str, stamp: int) -> dict[str, str]:
    return {"webhook-id": "occ_a", "webhook-timestamp": str(stamp), "webhook-signature": value}


@given(st.text(max_size=300))
def test_the_upstream_library_signs_alike(text: str) -> None:
    stamp = datetime(2027, 1, 1, 9, tzinfo=UTC)
    theirs = Webhook(SECRET).sign("occ_a", stamp, text)
    assert signatures(signing_keys(SECRET), "occ_a", int(stamp.timestamp()), text.encode()) == theirs


def test_an_asymmetric_signature_is_that_of_the_reference_implementation() -> None:
    assert signatures(signing_keys(PRIVATE), *VECTOR) == SIGNED
    assert public_key_of(PRIVATE) == PUBLIC
    Ed25519PublicKey.from_public_bytes(base64.b64decode(PUBLIC.removeprefix("whpk_"))).verify(
        base64.b64decode(SIGNED.removeprefix("v1a,")), signed_content(*VECTOR)
    )


def test_a_private_key_may_come_without_its_public_half() -> None:
    seed = base64.b64decode(PRIVATE.removeprefix("whsk_"))[:32]
    assert signatures(signing_keys("whsk_" + base64.b64encode(seed).decode()), *VECTOR) == SIGNED


def test_any_changed_byte_is_noticed() -> None:
    stamp, body = int(datetime.now(UTC).timestamp()), b'{"amount": 100}'
    good = headers(signatures(signing_keys(SECRET), "occ_a", stamp, body), stamp)
    assert Webhook(SECRET).verify(body, good) == {"amount": 100}
    for n in range(len(body)):
        changed = body[:n] + bytes([body[n] ^ 1]) + body[n + 1 :]
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(changed, good)


def test_while_secrets_change_receivers_with_either_accept() -> None:
    stamp, body = int(datetime.now(UTC).timestamp()), b"{}"
    value = signatures(signing_keys(f"{SECRET} {OLDER} {PRIVATE}"), "occ_a", stamp, body)
    assert [part.partition(",")[0] for part in value.split(" ")] == ["v1", "v1", "v1a"]
    for secret in (SECRET, OLDER):
        assert Webhook(secret).verify(body, headers(value, stamp)) == {}


@pytest.mark.parametrize(("stamp", "count"), [(EXPIRY_S - 1, 2), (EXPIRY_S, 1), (EXPIRY_S + 1, 1)])
def test_the_old_secret_signs_until_its_date(stamp: int, count: int) -> None:
    for until in ("2027-01-01T00:00:00Z", "2027-01-01T01:00:00+01:00", "2027-01-01"):
        keys = signing_keys(f"{SECRET} {OLDER};until={until}")
        assert len(signatures(keys, "occ_a", stamp, b"").split(" ")) == count


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("", "whsec_<base64>"),
        ("whsec_", "24 to 64 bytes"),
        ("whsec_abc", "base64"),
        ("whsec_???", "base64"),
        ("secret", "whsec_<base64>"),
        ("whsec_" + base64.b64encode(b"short").decode(), "not 5"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "not 65"),
        ("whsk_" + base64.b64encode(bytes(31)).decode(), "32 bytes"),
        ("whsk_" + base64.b64encode(bytes(64)).decode(), "32 bytes"),
        (PUBLIC, "whsec_<base64>"),
        (f"{SECRET} {SECRET} {SECRET} {SECRET} {SECRET}", "at most 4"),
        (f"{SECRET};until=2027-01-01T00:00:00Z", "without `until`"),
        (f"{SECRET} {OLDER};until=tomorrow", "no instant"),
        (f"{SECRET} {OLDER};before=2027-01-01", "base64"),
        ("whsec_ключ", "base64"),
    ],
)
def test_a_secret_of_another_shape_is_refused_and_not_repeated(secret: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        signing_keys(secret)
    assert SECRET not in str(refused.value)


def test_keys_do_not_print_what_is_in_them() -> None:
    for secret in signing_keys(f"{SECRET} {PRIVATE}"):
        assert repr(secret.material) not in repr(secret)
    for key in (verifying_key(SECRET), verifying_key(PUBLIC)):
        assert repr(key.material) not in repr(key)


@given(st.integers(0, 2**64))
def test_fresh_secrets_sign_and_verify(seed: int) -> None:
    chance = SeededChance(random.Random(seed))
    shared, (private, public) = new_shared_secret(chance), new_key_pair(chance)
    assert public_key_of(private) == public
    for secret, verifying in ((shared, shared), (private, public)):
        [key] = signing_keys(secret)
        raw = base64.b64decode(key.sign(b"content").partition(",")[2])
        assert verifying_key(verifying).matches(b"content", raw)
        assert not verifying_key(verifying).matches(b"Content", raw)
        assert not verifying_key(verifying).matches(b"content", raw[:-1])


def test_a_receiver_is_not_given_the_private_key() -> None:
    with pytest.raises(ValueError, match="is a private key"):
        verifying_key(PRIVATE)
    for wrong in ("whpk_", "whpk_" + base64.b64encode(bytes(31)).decode(), "x"):
        with pytest.raises(ValueError, match="must"):
            verifying_key(wrong)
