"""The hashes that vouch for lines. Source: docs/reference/export-format.md, How it is verified."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

EMPTY: Final = blake2b(b"", digest_size=32).digest()


def leaf(line: bytes) -> bytes:
    """Return the hash of a line."""
    return blake2b(b"\0" + line, digest_size=32).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of two hashes."""
    return blake2b(b"\1" + left + right, digest_size=32).digest()


class Tree:
    """The root over leaves that come one by one: RFC 6962, section 2.1, with one hash kept for each full subtree."""

    def __init__(self) -> None:
        self._full: list[bytes | None] = []

    def add(self, hashed: bytes) -> None:
        """Take the next leaf."""
        for height, left in enumerate(self._full):
            if left is None:
                self._full[height] = hashed
                return
            self._full[height] = None
            hashed = node(left, hashed)
        self._full.append(hashed)

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        right: bytes | None = None
        for left in self._full:
            if left is not None:
                right = left if right is None else node(left, right)
        return EMPTY if right is None else right


def unhexed(text: str) -> bytes:
    """Return the bytes that hex digits stand for; none when they are no hex digits."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def execution_number(job_id: str, kind: str, discriminator: str, instant_s: int) -> int:
    """Return the 160 bits that an execution's id writes in base32: the instant, and a hash of what it is for."""
    key = f"{job_id}\0{kind}\0{discriminator}".encode()
    return instant_s << 120 | int.from_bytes(blake2b(key, digest_size=15).digest(), "big")


def number_in(execution_id: str) -> int | None:
    """Return the 160 bits of an execution's id, or None when it is none."""
    body = execution_id[4:]
    if not execution_id.startswith("occ_") or len(body) != 32 or not body.isalnum() or body != body.lower():
        return None
    try:
        # The digits of base 32 in Python are those of RFC 4648's extended hex alphabet.
        return int(body, 32)
    except ValueError:
        return None


def instant_in(row_id: str) -> int | None:
    """Return the instant that the id of an execution or of a range says, in seconds; None when it says none."""
    if row_id.startswith("rng_") and row_id[4:16].isdigit():
        return int(row_id[4:16])
    number = number_in(row_id)
    return None if number is None else number >> 120
