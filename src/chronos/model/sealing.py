"""Credentials at rest: AES-256-GCM under a key that never enters the log.

A sealed text is bound to the place it was sealed for (tenant, job, field), so that it cannot be moved to a
job of somebody else and be opened there.
"""

from __future__ import annotations

import base64

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chronos.errors import Unprocessable
from chronos.model.secret import SEALED_PREFIX
from chronos.timing.clock import Chance

_NONCE_BYTES = 12


class SealBroken(Unprocessable):
    """A stored credential cannot be opened with this server's key."""


class Sealer:
    """Seals and opens credentials with one 256-bit key."""

    def __init__(self, key: bytes, chance: Chance) -> None:
        self._aead = AESGCM(key)
        self._chance = chance

    def seal(self, text: str, place: str) -> str:
        """Return `text` sealed for `place`; a text sealed already is returned as it is."""
        if text.startswith(SEALED_PREFIX):
            return text
        nonce = self._chance.bytes(_NONCE_BYTES)
        sealed = nonce + self._aead.encrypt(nonce, text.encode(), place.encode())
        return SEALED_PREFIX + base64.urlsafe_b64encode(sealed).decode()

    def open(self, text: str, place: str) -> str:
        """Return what was sealed for `place`; a text that is not sealed is returned as it is.

        Raises:
            SealBroken: It was sealed with another key, for another place, or was changed.
        """
        if not text.startswith(SEALED_PREFIX):
            return text
        try:
            raw = base64.urlsafe_b64decode(text[len(SEALED_PREFIX) :])
            return self._aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode()).decode()
        except (InvalidTag, ValueError) as exc:
            raise SealBroken(f"The credential at {place} cannot be opened with this server's key.") from exc
