"""Calendars: documents that jobs name, by which days and hours are left out."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec
from msgspec import Struct

from chronos.errors import CalendarInvalid, Conflict, NotFound, VersionConflict
from chronos.plugin import Call, Endpoint, Reply
from chronos.scheduler.calendars import PREFIX
from chronos.server.rest.core import Core, idem, reply
from chronos.server.rest.documents import at
from chronos.store.commands import PutDocument
from chronos.store.state import calendar_trait
from chronos.store.tables import DOCUMENTS, Document, document_key
from chronos.timing.calendar import CalendarRules, compile_calendar

TAG = "calendars"
CALENDARS_MAX = 1_000
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


class CalendarNotFound(NotFound):
    """There is no such calendar."""


class CalendarInUse(Conflict):
    """Jobs refer to the calendar; take it out of them first."""


class CalendarDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A calendar and its version."""

    name: str
    namespace: str
    revision: int
    updated_at: datetime | None
    updated_by: str
    rules: CalendarRules


class CalendarList(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every calendar of the namespace, by name."""

    calendars: list[CalendarDocument]


class CalendarGone(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The calendar that was deleted."""

    name: str


class Calendars:
    """The handlers of `/api/v1/calendars`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def endpoints(self) -> list[Endpoint]:
        one = "/api/v1/calendars/{calendar}"
        return [
            Endpoint(
                "GET",
                "/api/v1/calendars",
                self.search,
                "calendar:read",
                "List calendars.",
                answers=CalendarList,
                tag=TAG,
                operation="list_calendars",
            ),
            Endpoint(
                "GET",
                one,
                self.get,
                "calendar:read",
                "Read a calendar.",
                answers=CalendarDocument,
                errors=(404,),
                tag=TAG,
                operation="get_calendar",
            ),
            Endpoint(
                "PUT",
                one,
                self.put,
                "calendar:update",
                "Create or replace a calendar; jobs that name it are planned anew. `If-Match` is honoured when sent.",
                body=CalendarRules,
                answers=CalendarDocument,
                errors=(409, 412),
                idempotent_key=True,
                tag=TAG,
                operation="put_calendar",
                links={"name": ("get_calendar", "calendar")},
            ),
            Endpoint(
                "DELETE",
                one,
                self.delete,
                "calendar:delete",
                "Delete a calendar that no job refers to.",
                answers=CalendarGone,
                errors=(404, 409, 412),
                idempotent_key=True,
                tag=TAG,
                operation="delete_calendar",
            ),
        ]

    async def search(self, call: Call) -> Reply:
        page = self._core.queries.documents(PREFIX, call.namespace, limit=CALENDARS_MAX)
        found = [_document(key.rpartition("/")[2], call.namespace, one) for key, one in page.items]
        return reply(CalendarList(calendars=found))

    async def get(self, call: Call) -> Reply:
        document = self._find(call)
        return reply(_document(call.path["calendar"], call.namespace, document), revision=document.revision)

    async def put(self, call: Call) -> Reply:
        name = call.path["calendar"]
        if not _NAME.match(name):
            raise CalendarInvalid("A calendar's name is letters, digits, `.`, `_` and `-`, at most 100.", field="name")
        rules: CalendarRules = call.body
        compile_calendar(rules)
        expect = -1 if call.if_match is None else call.if_match
        result = await self._core.log.propose(
            PutDocument(
                PREFIX,
                call.namespace,
                name,
                msgspec.json.encode(rules),
                call.principal.id,
                expect,
                replans=True,
                idem=idem(call),
            )
        )
        del result
        document = self._find(call)
        return reply(_document(name, call.namespace, document), revision=document.revision)

    async def delete(self, call: Call) -> Reply:
        document, name = self._find(call), call.path["calendar"]
        if call.if_match not in (None, -1, document.revision):
            raise VersionConflict("The calendar was changed by someone else; read it again.")
        users = [job.name for job in self._core.queries.jobs_with(calendar_trait(call.namespace, name))]
        if users:
            raise CalendarInUse(f"{len(users)} jobs refer to `{name}`: {', '.join(users[:5])}.", jobs=users[:20])
        by = call.principal.id
        await self._core.log.propose(PutDocument(PREFIX, call.namespace, name, None, by, replans=True, idem=idem(call)))
        return reply(CalendarGone(name=name))

    def _find(self, call: Call) -> Document:
        name = call.path["calendar"]
        document = self._core.log.view.get(DOCUMENTS, document_key(PREFIX, call.namespace, name))
        if document is None:
            raise CalendarNotFound(f"Namespace `{call.namespace}` has no calendar `{name[:100]}`.")
        return document


def _document(name: str, namespace: str, document: Document) -> CalendarDocument:
    return CalendarDocument(
        name=name,
        namespace=namespace,
        revision=document.revision,
        updated_at=at(document.updated_at_us),
        updated_by=document.updated_by,
        rules=msgspec.json.decode(document.value, type=CalendarRules),
    )
