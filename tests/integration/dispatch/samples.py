"""Deliveries to begin with."""

from __future__ import annotations

from typing import Any

from chronos.dispatch.port import Delivery
from chronos.model.target import HttpTarget, ProcessTarget, Target

EXECUTION = "occ_00000ks5g0abcdefghijklmnopqrstuv"


def a_delivery(target: Target, **changes: Any) -> Delivery:
    facts: dict[str, Any] = {
        "execution_id": EXECUTION,
        "job_id": "01JABCDEFGHJKMNPQRSTVWXYZ0",
        "job_name": "nightly report",
        "namespace": "default",
        "attempt": 2,
        "token": "1.7.4711",
        "scheduled_s": 1_798_794_000,
        "timeout_us": 30_000_000,
    }
    return Delivery(target=target, **(facts | changes))


def http(url: str, **fields: Any) -> Delivery:
    return a_delivery(HttpTarget(url=url, **fields))


def process(*argv: str, **fields: Any) -> Delivery:
    return a_delivery(ProcessTarget(argv=list(argv), **fields))
