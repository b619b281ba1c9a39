"""Walking through long lists page by page, as plain documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chronos.cli.chronosctl.session import Session
from chronos.client import Operation
from chronos.client import operations as ops

Document = dict[str, Any]


def pages(session: Session, field: str, ask: Callable[[str | None], Operation[Any]]) -> Iterator[Document]:
    """Yield the documents under `field` of every page, until there is no next one."""
    cursor: str | None = None
    while True:
        answer = session.fetch(ask(cursor))
        yield from rows_of(answer, field)
        following = answer.get("next_cursor") if isinstance(answer, Mapping) else None
        if not following or following == cursor:
            return
        cursor = following


def rows_of(answer: Any, field: str) -> list[Document]:
    """Return the list in an answer, whether it stands alone or under `field`."""
    found = answer.get(field, []) if isinstance(answer, Mapping) else answer
    return list(found or [])


def jobs_of(
    session: Session,
    *,
    enabled: bool | None = None,
    text: str | None = None,
    tags: Mapping[str, str] | None = None,
    limit: int = ops.PAGE_MAX,
) -> Iterator[Document]:
    """Yield every job that matches, `limit` (at most a page) at a time."""
    size = min(limit, ops.PAGE_MAX)
    return pages(
        session,
        "jobs",
        lambda cursor: ops.jobs(enabled=enabled, text=text, tags=tags, cursor=cursor, limit=size),
    )
