"""How long ahead of its due time an execution is decided and started."""

from __future__ import annotations

from chronos.scheduler.book import Book

PER_JOB_US = 110
"""What deciding and starting one execution takes, about. A lower bound would do no harm: late starts are caught up."""
SPARE_US = 110
"""And for each of a crowd as much again: what falls behind while others use the machine takes long to catch up."""
LEAD_US_MAX = 2_500_000
CROWD_MAX = 20_000
CROWD_MIN = 500
"""Who is fewer takes no time worth speaking of."""
SPREAD_US = 1_000_000
"""Of a crowd, what jitter spreads over a second is claimed together: one by one it would cost half as much again."""


class Lead:
    """The claim lead: longer before an instant at which many are due, so that the last of them starts on time, too.

    Attributes:
        us: What it is now, in microseconds.
        claim_us: How far ahead of its start an execution is claimed together with its decision: the lead, and more for
            a crowd.

    Args:
        least_us: The lead before an instant at which few are due.
    """

    def __init__(self, book: Book, least_us: int) -> None:
        self._book = book
        self._least_us = least_us
        self._instant: int | None = None
        self.us = self.claim_us = least_us

    def look(self, now_us: int) -> int:
        """Return the lead for what is due next."""
        instant = self._book.peek()
        if instant is None or instant * 1_000_000 - now_us > max(LEAD_US_MAX, self._least_us):
            return self.us
        if instant != self._instant:
            self._instant = instant
            crowd = self._book.crowd(instant, CROWD_MAX)
            is_crowd = crowd >= CROWD_MIN
            takes_us = crowd * (PER_JOB_US + SPARE_US if is_crowd else PER_JOB_US)
            self.us = max(self._least_us, min(LEAD_US_MAX, self._least_us + takes_us))
            self.claim_us = self.us + (SPREAD_US if is_crowd else 0)
        return self.us

    def is_short(self, jobs: int, instant_s: int, now_us: int) -> bool:
        """Whether less time is left until an instant than it takes to decide and start that many, who are due then."""
        return jobs >= CROWD_MIN and instant_s * 1_000_000 - now_us < jobs * PER_JOB_US
