"""What is asked for."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

Instant = Annotated[datetime, Meta(tz=True)]
Cursor = Annotated[str, Meta(max_length=1_024)]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether there are exports.

    Attributes:
        at_once: How many are written at a time; more are asked to come back.
    """

    enabled: bool = True
    at_once: Annotated[int, Meta(ge=1, le=100)] = 2


class ExportQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the past.

    Attributes:
        since: Due at or after this instant.
        until: Due before it.
        cursor: Of the last `mark` of an export that broke off, with the same filters: what comes after it.
    """

    since: Instant | None = None
    until: Instant | None = None
    cursor: Cursor | None = None


class ExecutionsExportQuery(ExportQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which executions of the namespace.

    Attributes:
        job: Of this job only, by name or id.
        proof: Also what verifying them needs: seals, changes, and the hashes of what is left out.
    """

    job: Annotated[str, Meta(max_length=200)] | None = None
    proof: bool = False
