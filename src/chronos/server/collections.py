"""Features' documents: bytes to the fold, structs to the feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec
from msgspec import Struct

from chronos.errors import ConfigInvalid
from chronos.store.commands import PutDocument
from chronos.store.queries import ALL, CHUNK, Where
from chronos.store.tables import CURSORS, DOCUMENTS, Document, document_key

if TYPE_CHECKING:
    from chronos.store.commandlog import CommandLog
    from chronos.store.queries import Queries

D = TypeVar("D", bound=Struct)

RESERVED = frozenset({CURSORS, "calendars"})


class Cursor(Struct, frozen=True, kw_only=True):
    """Up to where a durable subscriber has handled events."""

    index: int
    seq: int
    time_us: int


class Documents:
    """Hands out the collections; each belongs to one feature."""

    def __init__(self, log: CommandLog, queries: Queries) -> None:
        self._log = log
        self._queries = queries
        self._taken: set[str] = set()

    def typed(self, name: str, of: type[D]) -> DocumentCollection[D]:
        """Return the collection `name`.

        Raises:
            ConfigInvalid: Another feature has it already, or the server needs it for itself.
        """
        if name in self._taken or name in RESERVED or "/" in name or not name:
            raise ConfigInvalid(f"The collection `{name}` is taken, or not a name.")
        self._taken.add(name)
        return DocumentCollection(name, of, self._log, self._queries)

    def of(self, name: str) -> DocumentCollection[Cursor]:
        """Return the server's own collection of cursors."""
        return DocumentCollection(name, Cursor, self._log, self._queries)


class DocumentCollection(Generic[D]):
    """Implements `plugin.Collection` over the log's documents, as JSON."""

    def __init__(self, name: str, of: type[D], log: CommandLog, queries: Queries) -> None:
        self._name = name
        self._decoder = msgspec.json.Decoder(of)
        self._log = log
        self._queries = queries

    async def get(self, key: str, *, namespace: str = "default") -> D | None:
        document = self._log.view.get(DOCUMENTS, document_key(self._name, namespace, key))
        return self._decode(document) if document is not None else None

    async def put(self, key: str, value: D, *, by: str, namespace: str = "default", expect: int = -1) -> int:
        raw = msgspec.json.encode(value)
        result = await self._log.propose(PutDocument(self._name, namespace, key, raw, by, expect))
        revision: int = result.value
        return revision

    async def delete(self, key: str, *, by: str, namespace: str = "default") -> bool:
        if self._log.view.get(DOCUMENTS, document_key(self._name, namespace, key)) is None:
            return False
        await self._log.propose(PutDocument(self._name, namespace, key, None, by))
        return True

    async def items(self, *, namespace: str | None = None) -> list[tuple[str, D]]:
        where: Where = ALL if namespace is None else namespace
        found: list[tuple[str, D]] = []
        cursor = ""
        while True:  # ends: a cursor only ever moves on, and the collection is finite
            page = self._queries.documents(self._name, where, cursor=cursor, limit=CHUNK)
            found += [(key.partition("/")[2].partition("/")[2], self._decode(one)) for key, one in page.items]
            cursor = page.cursor
            if not cursor:
                return found

    def _decode(self, document: Document) -> D:
        return self._decoder.decode(document.value)
