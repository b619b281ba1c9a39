"""Calendars: documents that jobs refer to by name, compiled once a version."""

from __future__ import annotations

import msgspec

from chronos.store.port import View
from chronos.store.state import calendar_trait
from chronos.store.tables import DOCUMENTS, document_key
from chronos.timing.calendar import Calendar, CalendarRules, compile_calendar

PREFIX = "calendars"


class Calendars:
    """Looks calendars up in the state; a compiled one is kept until its document changes."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._compiled: dict[str, tuple[int, Calendar]] = {}

    def find(self, namespace: str, name: str) -> Calendar | None:
        """Return the calendar, or None when the namespace has none of that name."""
        key = document_key(PREFIX, namespace, name)
        document = self._view.get(DOCUMENTS, key)
        if document is None:
            return None
        known = self._compiled.get(key)
        if known is not None and known[0] == document.revision:
            return known[1]
        rules = msgspec.json.decode(document.value, type=CalendarRules)
        compiled = compile_calendar(rules)
        self._compiled[key] = (document.revision, compiled)
        return compiled

    def forget(self, key: str) -> None:
        """Drop what was compiled from the document under `key`."""
        self._compiled.pop(key, None)

    @staticmethod
    def is_calendar(key: str) -> bool:
        """Whether a document key is a calendar's."""
        return key.startswith(f"{PREFIX}/")

    @staticmethod
    def trait_of(key: str) -> str:
        """Return the trait of the jobs that refer to the calendar under a document key."""
        _, namespace, name = key.split("/", 2)
        return calendar_trait(namespace, name)
