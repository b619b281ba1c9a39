"""Jitter: spreading jobs that share an instant, the same way on every node."""

from __future__ import annotations

from hashlib import blake2b


def jitter_us(job_id: str, instant_s: int, jitter_us_max: int) -> int:
    """Return the delay of one execution in microseconds, uniform in [0, `jitter_us_max`).

    A function of the job and the instant alone: a new leader, a replay and the preview agree,
    and an execution keeps its delay across attempts.
    """
    if jitter_us_max <= 0:
        return 0
    return draw(f"jitter\0{job_id}\0{instant_s}") % jitter_us_max


def draw(seed: str) -> int:
    """Return 64 bits that look random and depend on `seed` alone."""
    return int.from_bytes(blake2b(seed.encode(), digest_size=8).digest(), "big")
