"""What is vouched for, as lines of text, and the hashes over them. Pure.

A line is canonical JSON: keys in order, no blanks, fields that have their default left out, so that a field which a
later version adds does not change the lines of what was there before it.

Source: the tree is that of RFC 6962 (a leaf begins with 0, a node with 1; both BLAKE2b-256).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from itertools import compress
from operator import is_not
from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import astuple, fields

from chronos.model.execution import Execution, Kind, RangeRecord
from chronos.store.tables import KeptDocument, Reset, Revision, RingItem, SealRecord

EMPTY = hashlib.blake2b(b"", digest_size=32).digest()
_encode = msgspec.json.Encoder(order="deterministic").encode


def leaf(line: bytes) -> bytes:
    """Return the hash of a line."""
    return hashlib.blake2b(b"\0" + line, digest_size=32).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of two neighbours."""
    return hashlib.blake2b(b"\1" + left + right, digest_size=32).digest()


class Tree:
    """A Merkle tree that grows; it keeps one hash a level.

    Attributes:
        leaves: How many there are.
    """

    def __init__(self) -> None:
        self.leaves = 0
        self._peaks: list[tuple[int, bytes]] = []

    def add(self, leaf_hash: bytes) -> None:
        """Take the next leaf."""
        height, top = 0, leaf_hash
        while self._peaks and self._peaks[-1][0] == height:
            top = node(self._peaks.pop()[1], top)
            height += 1
        self._peaks.append((height, top))
        self.leaves += 1

    def root(self) -> bytes:
        """Return the root; that of no leaves is the hash of nothing."""
        if not self._peaks:
            return EMPTY
        root = self._peaks[-1][1]
        for _, peak in reversed(self._peaks[:-1]):
            root = node(peak, root)
        return root


def link(before: bytes, line: bytes) -> bytes:
    """Return the end of a chain after one more line."""
    return node(before or EMPTY, leaf(line))


def record_line(record: Execution | RangeRecord) -> bytes:
    """Return the line of a row of history."""
    kind = "range" if isinstance(record, RangeRecord) else "execution"
    return _encode({"type": kind, **plain(record)})


def revision_line(revision: Revision) -> bytes:
    """Return the line of a job's revision."""
    return _encode({"type": "revision", **plain(revision)})


def deletion_line(job_id: str, item: RingItem) -> bytes:
    """Return the line of a job's deletion."""
    return _encode({"type": "deletion", "job_id": job_id, "time_us": item.time_us, "seq": item.seq})


def document_line(document: KeptDocument) -> bytes:
    """Return the line of a document's revision."""
    return _encode({"type": "document", **plain(document)})


def reset_line(reset: Reset) -> bytes:
    """Return the line of a reset of the clock."""
    return _encode({"type": "reset", **plain(reset)})


def seal_line(seal: SealRecord) -> bytes:
    """Return the line of a seal; the next seal carries its `leaf`."""
    hashes = {name: getattr(seal, name).hex() for name in ("root", "changes_hash", "previous")}
    return _encode({"type": "seal", **plain(seal), **hashes})


def planned(records: Iterable[Execution | RangeRecord]) -> tuple[int, int]:
    """Return how many planned instants have rows of their own, and how many lie in range records."""
    executions = skipped = 0
    for record in records:
        if isinstance(record, RangeRecord):
            skipped += record.count
        elif record.kind is Kind.SCHEDULE and record.series == 0:
            executions += 1
    return executions, skipped


def plain(value: Any) -> Any:
    """Return a struct as a dict without what has its default, all the way down."""
    if isinstance(value, Struct):
        return _plain_struct(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


_SCALARS = frozenset({str, int, float, bool, type(None)})


def _plain_struct(value: Struct) -> dict[str, Any]:
    names, defaults, tag = _shape(type(value))
    found: dict[str, Any] = {}
    values = astuple(value)
    # Most of a job's fifty fields are the very objects that its type has as defaults: those need no comparison.
    for name, held, default in compress(zip(names, values, defaults, strict=True), map(is_not, values, defaults)):
        if held != default or type(held) is not type(default):
            found[name] = held if type(held) in _SCALARS else plain(held)
    if tag is not None:
        found["type"] = tag
    return found


@cache
def _shape(of: type[Struct]) -> tuple[tuple[str, ...], list[Any], str | None]:
    """Return the fields' names, their defaults, and the tag; what has no default gets one that nothing equals."""
    defaults = [
        field.default if field.default is not NODEFAULT else _made(field.default_factory) for field in fields(of)
    ]
    tag = of.__struct_config__.tag
    return of.__struct_fields__, defaults, tag if isinstance(tag, str) else None


def _made(factory: Any) -> Any:
    return NODEFAULT if factory is NODEFAULT else factory()
