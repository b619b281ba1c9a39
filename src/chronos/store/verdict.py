"""From the fold's verdict to the error it names."""

from __future__ import annotations

from functools import cache

from chronos.errors import ChronosError
from chronos.store.port import Result


def error_of(result: Result) -> ChronosError:
    """Return the error that `result.error` names, with its message and facts."""
    assert result.error, "an accepted command has no error"
    kind = _by_slug().get(result.error, ChronosError)
    facts = {name: fact for name, fact in result.facts.items() if name != "message"}
    return kind(result.message or None, **facts)


def accepted(result: Result) -> Result:
    """Return `result`, or raise the error it names."""
    if result.error:
        raise error_of(result)
    return result


@cache
def _by_slug() -> dict[str, type[ChronosError]]:
    found: dict[str, type[ChronosError]] = {}
    waiting: list[type[ChronosError]] = [ChronosError]
    while waiting:
        kind = waiting.pop()
        found.setdefault(kind.slug, kind)
        waiting.extend(kind.__subclasses__())
    return found
