"""Pages of jobs that were listed lately: who looks at a list asks for the same page again and again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from chronos.model.job import Job
from chronos.store.jobsearch import Listed

PAGES_MAX = 100

LookUp = Callable[[str | None, tuple[str, str], int], Awaitable[Listed]]


class Listings:
    """Remembers which jobs stand on a page until one comes, goes or is renamed. Belongs to the event loop."""

    def __init__(self) -> None:
        self._pages: dict[tuple[str | None, tuple[str, str], int], Listed] = {}

    def note(self, before: Any, after: Job | None) -> None:
        """Forget all pages when a job changes its place in them.

        Args:
            before: The job as it was, if that is known; anything else counts as a change.
            after: The job as it is; None when it is gone.
        """
        if not isinstance(before, Job) or after is None or _place(before) != _place(after):
            self._pages = {}  # another one: what is being looked up is remembered where nobody looks

    async def page(self, namespace: str | None, after: tuple[str, str], limit: int, look_up: LookUp) -> Listed:
        """Return which jobs come up to `limit` behind `after`; `look_up` is asked for a page that is not known."""
        page, pages = (namespace, after, limit), self._pages
        found = pages.get(page)
        if found is None:
            found = await look_up(*page)
            if len(pages) >= PAGES_MAX:
                pages.clear()
            pages[page] = found
        return found


def _place(job: Job) -> tuple[str, str]:
    return job.namespace, job.name
