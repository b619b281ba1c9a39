"""Which jobs a segment may have records of, in about ten bits a job: a Bloom filter. Pure.

A job that is in is always found to be in; of a hundred that are not, one is taken to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b

BITS_A_JOB = 10
HASHES = 7
BYTES_MIN = 16
JOBS_MAX = 4_096
"""Of more jobs there is no filter: it would be too big to be kept in memory for each segment."""


def filter_of(jobs: Sequence[str]) -> bytes:
    """Return a filter of these jobs; empty when they are none, or too many: then any may be in."""
    if not 0 < len(jobs) <= JOBS_MAX:
        return b""
    bits = bytearray(max(BYTES_MIN, (len(jobs) * BITS_A_JOB + 7) // 8))
    for job_id in jobs:
        for place in _places(job_id, len(bits) * 8):
            bits[place >> 3] |= 1 << (place & 7)
    return bytes(bits)


def may_have(bits: bytes, job_id: str) -> bool:
    """Whether the job may be one of those that the filter was made of."""
    return not bits or all(bits[place >> 3] >> (place & 7) & 1 for place in _places(job_id, len(bits) * 8))


def _places(job_id: str, size: int) -> Iterable[int]:
    first, step = _hashes(job_id)
    return ((first + n * step) % size for n in range(HASHES))


@lru_cache(maxsize=1_000)
def _hashes(job_id: str) -> tuple[int, int]:
    digest = blake2b(job_id.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big") | 1
