from __future__ import annotations

import inspect

import pytest

from chronos import errors
from chronos.errors import ChronosError, Conflict, Denied, Invalid, NotFound, Unauthenticated, Unavailable

# Slugs are part of the API: a line that changes here is a change that clients see.
SLUGS = {
    "invalid",
    "unprocessable",
    "schedule-invalid",
    "schedule-never-fires",
    "timezone-unknown",
    "duration-invalid",
    "calendar-invalid",
    "job-invalid",
    "idempotency-key-reused",
    "config-invalid",
    "precondition-required",
    "unauthenticated",
    "denied",
    "callback-refused",
    "egress-refused",
    "quota-exceeded",
    "rate-limited",
    "not-found",
    "job-not-found",
    "execution-not-found",
    "revision-not-found",
    "conflict",
    "name-taken",
    "overlap",
    "execution-ended",
    "attempt-ended",
    "not-redrivable",
    "version-conflict",
    "unavailable",
    "not-leader",
    "draining",
    "overloaded",
    "clock-held",
    "log-damaged",
    "log-failed",
    "workers-failed",
    "plan-moved",
    "catching-up",
    "fenced",
    "snapshot-needed",
    "data-folder-in-use",
    "format-unreadable",
    "storage-full",
    "lease-lost",
    "peer-silent",
    "peer-unreachable",
    "node-unknown",
    "state-damaged",
}

FAMILIES = (Invalid, Unauthenticated, Denied, NotFound, Conflict, Unavailable)


def leaves() -> list[type[ChronosError]]:
    found = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ChronosError)]
    return [kind for kind in found if kind is not ChronosError]


def test_the_slugs_are_the_ones_the_reference_lists() -> None:
    assert {kind.slug for kind in leaves()} == SLUGS


@pytest.mark.parametrize("kind", leaves(), ids=lambda kind: kind.slug)
def test_every_error_belongs_to_exactly_one_family(kind: type[ChronosError]) -> None:
    assert sum(issubclass(kind, family) for family in FAMILIES) == 1


@pytest.mark.parametrize("kind", leaves(), ids=lambda kind: kind.slug)
def test_an_error_without_a_message_says_its_docstring(kind: type[ChronosError]) -> None:
    assert str(kind()) == (kind.__doc__ or "").partition("\n")[0]
    assert str(kind()).endswith(".") or str(kind()).endswith("`.")


def test_facts_travel_beside_the_message() -> None:
    error = errors.NotLeader(leader="n2")
    assert error.facts == {"leader": "n2"}
    assert str(errors.NotLeader("n1 does not lead", leader="n2")) == "n1 does not lead"


def test_a_new_leaf_gets_its_slug_from_its_name() -> None:
    class DiskOnFire(Unavailable):
        """The disk is on fire."""

    assert DiskOnFire.slug == "disk-on-fire"
    assert ChronosError.slug == "chronos-error"
