"""What the scheduler can be told."""

from __future__ import annotations

from msgspec import Struct

from chronos.model.job import OnIsolation


class SchedulerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults are those of the reference; times are microseconds.

    Attributes:
        claim_lead_us: How long, at least, before its due time an execution is decided and started, so that no disk
            sits on the path between the due time and the first byte.
        execution_timeout_us: Bounds an attempt of a target other than HTTP, when the job says nothing.
        http_timeout_us: The same for HTTP.
        unknowns_max: Attempts of unknown outcome that are tried again without counting.
        batch_max: Executions of those that wait started in one entry; what is granted with its decision comes on top.
        part_jobs: Of more jobs that are due together, so many are decided in one entry while somebody outside writes,
            who would else wait behind all of them.
        on_isolation: What a node that is cut off from the others does with what it runs, when the job says nothing.
        history_days: How long history is kept; revisions of a deleted job are kept for as long after the delete.
    """

    claim_lead_us: int = 250_000
    execution_timeout_us: int = 300_000_000
    http_timeout_us: int = 30_000_000
    unknowns_max: int = 5
    batch_max: int = 2_000
    part_jobs: int = 200
    dead_letter_days: int = 14
    history_days: float = 30.0
    on_isolation: OnIsolation = OnIsolation.STOP
