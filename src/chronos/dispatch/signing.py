"""Standard Webhooks signatures: id, time and body, so that a target can tell ours from a forgery.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hmac

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of secrets, none itself
SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64


def signing_key(secret: str) -> bytes:
    """Return the key inside `whsec_<base64>`.

    Raises:
        ValueError: It is not such a secret, or its key is not 24 to 64 bytes long.
    """
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError("must look like whsec_<base64>")
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("must be base64 after whsec_") from None
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise ValueError(f"must hold {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes after whsec_, not {len(key)}")
    return key


def signature(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of `webhook-signature` for exactly these bytes."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
