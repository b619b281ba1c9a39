"""Signatures that the upstream library accepts, and no others."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from chronos.dispatch.signing import signature, signing_key

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@given(st.binary(max_size=300))
def test_the_upstream_library_signs_alike(body: bytes) -> None:
    stamp = datetime(2027, 1, 1, 9, tzinfo=UTC)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return
    theirs = Webhook(SECRET).sign("occ_a", stamp, text)
    assert signature(signing_key(SECRET), "occ_a", int(stamp.timestamp()), body) == theirs


def test_any_changed_byte_is_noticed() -> None:
    stamp, body = int(datetime.now(UTC).timestamp()), b'{"amount": 100}'
    good = {
        "webhook-id": "occ_a",
        "webhook-timestamp": str(stamp),
        "webhook-signature": signature(signing_key(SECRET), "occ_a", stamp, body),
    }
    assert Webhook(SECRET).verify(body, good) == {"amount": 100}
    for n in range(len(body)):
        changed = body[:n] + bytes([body[n] ^ 1]) + body[n + 1 :]
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(changed, good)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_abc", "whsec_???", "secret", "whsec_" + base64.b64encode(b"short").decode()]
)
def test_a_secret_of_another_shape_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="must"):
        signing_key(secret)
