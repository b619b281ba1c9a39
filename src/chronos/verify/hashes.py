"""The hashes that vouch for lines. Source: docs/reference/export-format.md, How it is verified."""

from __future__ import annotations

from base64 import b32hexencode
from hashlib import blake2b
from typing import Final

EMPTY: Final = blake2b(b"", digest_size=32).digest()
_LEAF: Final = blake2b(b"\0", digest_size=32)
_CHUNK_HEIGHT: Final = 10
_CHUNK: Final = 1 << _CHUNK_HEIGHT


def leaf(line: bytes) -> bytes:
    """Return the hash of a line."""
    hashed = _LEAF.copy()
    hashed.update(line)
    return hashed.digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of two hashes."""
    return blake2b(b"\1" + left + right, digest_size=32).digest()


class Tree:
    """The root over leaves that come one by one: RFC 6962, section 2.1, with one hash kept for each full subtree."""

    def __init__(self) -> None:
        self._full: list[bytes | None] = []
        self._waiting: list[bytes] = []

    def add(self, hashed: bytes) -> None:
        """Take the next leaf."""
        self._waiting.append(hashed)
        if len(self._waiting) == _CHUNK:
            # As many as fill a subtree, level by level: that costs half of taking them one by one.
            _take(self._full, _top(self._waiting), _CHUNK_HEIGHT)
            self._waiting = []

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        full = list(self._full)
        for hashed in self._waiting:
            _take(full, hashed, 0)
        right: bytes | None = None
        for left in full:
            if left is not None:
                right = left if right is None else node(left, right)
        return EMPTY if right is None else right


def _top(leaves: list[bytes]) -> bytes:
    """Return the hash of a full subtree."""
    while len(leaves) > 1:
        pairs = iter(leaves)
        leaves = [
            blake2b(b"\1" + left + right, digest_size=32).digest() for left, right in zip(pairs, pairs, strict=True)
        ]
    return leaves[0]


def _take(full: list[bytes | None], hashed: bytes, height: int) -> None:
    """Put a subtree of a height behind the others; `full` has one place for each height."""
    full += [None] * (height - len(full))
    for above in range(height, len(full)):
        left = full[above]
        if left is None:
            full[above] = hashed
            return
        full[above] = None
        hashed = node(left, hashed)
    full.append(hashed)


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


def execution_id(number: int) -> str:
    """Return the id that writes these 160 bits."""
    return "occ_" + b32hexencode(number.to_bytes(20, "big")).decode().lower()


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
