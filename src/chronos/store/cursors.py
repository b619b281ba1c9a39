"""Cursors: where a page ended, in a form that only the server can make."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

from chronos.errors import Invalid

Position = list[int | str]

_MAC_BYTES = 16


class Cursors:
    """Makes and reads cursors.

    Args:
        key: At least 16 secret bytes, the same on every node, so that a cursor works after a failover.
    """

    def __init__(self, key: bytes) -> None:
        assert len(key) >= 16
        self._begun = hmac.new(hashlib.blake2b(key, person=b"chronos cursors").digest(), digestmod="sha256")

    def write(self, listing: str, position: Position) -> str:
        """Return the cursor of a position in a listing; `listing` names the query with all its filters."""
        body = msgspec.msgpack.encode(position)
        return base64.urlsafe_b64encode(self._mac(listing, body) + body).rstrip(b"=").decode()

    def read(self, listing: str, cursor: str) -> Position:
        """Return the position.

        Raises:
            Invalid: It was changed, or belongs to another listing.
        """
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        # Compared by what it says too: base64 has several spellings of the same bytes.
        if not hmac.compare_digest(mac, self._mac(listing, body)) or self.write(listing, _decode(body)) != cursor:
            raise Invalid(
                "This cursor does not belong to this listing. Ask for the first page again, without `cursor`.",
                field="cursor",
            )
        return _decode(body)

    def _mac(self, listing: str, body: bytes) -> bytes:
        # Not `hmac.digest`, which gives the interpreter away for so little.
        mac = self._begun.copy()
        mac.update(listing.encode() + b"\0" + body)
        return mac.digest()[:_MAC_BYTES]


_decode = msgspec.msgpack.Decoder(Position).decode
