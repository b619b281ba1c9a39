"""Many jobs in one request, a line each: written in slices, so that whatever is due goes out between them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from chronos.errors import ChronosError, Invalid, NameTaken, Unprocessable
from chronos.model.job import JobSpec
from chronos.plugin import Action, Call, Reply
from chronos.scheduler.jobs import Asked, Changed
from chronos.server.decoding import decode_twice
from chronos.server.problems import describe
from chronos.server.rest.core import Core, MakeIdem, idem_of, reply
from chronos.server.rest.guards import check_writer, require
from chronos.server.rest.jobs import in_namespace, with_defaults

LINES_MAX = 10_000
LINE_BYTES_MAX = 1 << 20
NDJSON = "application/x-ndjson"

SLICE_LINES = 50
SLICE_BYTES = 64 * 1024
SLICE_S = 0.005
"""A slice is so many lines at most, and so many bytes unless one line has more; reading it takes the loop so long at
a time, about. Folded it is in one piece, with the other slices that are under way."""

SLICES_AT_ONCE = 2
"""Of all batches together: one is read while the one before is on its way to the disk."""


class BatchItem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of one line.

    Attributes:
        line: Counted from 1.
        status: As if the job had been written alone: 201, 200, 422 …
        error: Problem details, when it was refused.
    """

    line: int
    status: int
    id: str = ""
    name: str = ""
    error: dict[str, Any] | None = None


class BatchAnswer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A result per line, in order."""

    results: list[BatchItem] = field(default_factory=list)
    succeeded: int = 0
    failed: int = 0


class _Line:
    """A line, and what has become of it."""

    __slots__ = ("error", "item", "name", "number", "text")

    def __init__(self, number: int, text: bytes) -> None:
        self.number = number
        self.text = text
        self.name = ""
        self.error: ChronosError | None = None
        self.item: BatchItem | None = None

    def refuse(self, error: ChronosError) -> None:
        status, problem, _ = describe(error)
        self.error = error
        self.item = BatchItem(line=self.number, status=status, name=self.name, error=problem)

    def take(self, came: Changed | ChronosError, status: int) -> None:
        if isinstance(came, ChronosError):
            self.refuse(came)
        else:
            self.error = None
            self.item = BatchItem(line=self.number, status=status, name=self.name, id=came.job.id)


_Wanted = tuple[_Line, JobSpec]


class Batches:
    """The handler of `/api/v1/jobs:batch`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._room = asyncio.Semaphore(SLICES_AT_ONCE)

    async def write(self, call: Call) -> Reply:
        lines = [_Line(n, text) for n, text in enumerate(call.raw.split(b"\n"), 1) if text.strip()]
        if len(lines) > LINES_MAX:
            raise Unprocessable(f"A batch has {len(lines)} lines; {LINES_MAX} is the most.", field="")
        if not lines:
            raise Invalid("A batch has one JSON document a line; this one is empty.")
        make_idem = idem_of(call)
        before = asyncio.Event()
        before.set()
        async with asyncio.TaskGroup() as group:
            for part in _slices(lines):
                written = asyncio.Event()
                group.create_task(self._write(call, part, make_idem, before, written))
                before = written
        results = [line.item for line in lines if line.item is not None]
        failed = sum(item.error is not None for item in results)
        return reply(BatchAnswer(results=results, succeeded=len(results) - failed, failed=failed))

    async def _write(
        self, call: Call, lines: list[_Line], make_idem: MakeIdem, before: asyncio.Event, written: asyncio.Event
    ) -> None:
        """Read a slice while the one before it is written, and then write it; if both name one job, the later stands.

        Args:
            before: Set when the slice before is written; that one has got its room earlier.
            written: To be set when this one is.
        """
        async with self._room:
            wanted = await self._read(call, lines)
            await before.wait()
            await self._create(wanted, call, make_idem)
            taken = [one for one in wanted if isinstance(one[0].error, NameTaken)]
            while taken:
                taken = await self._replace(taken, call, make_idem)
            written.set()

    async def _read(self, call: Call, lines: list[_Line]) -> list[_Wanted]:
        """Return the lines that may be written, with what they say."""
        wanted: list[_Wanted] = []
        clock = self._core.clock
        began = clock.boottime()
        for line in lines:
            if clock.boottime() - began > SLICE_S:
                await asyncio.sleep(0)
                began = clock.boottime()
            try:
                spec = self._spec(call, line.text)
                line.name = spec.name
                await check_writer(self._core, call.principal, spec, Action.CREATE_JOB)
            except ChronosError as error:
                line.refuse(error)
            else:
                wanted.append((line, spec))
        return wanted

    def _spec(self, call: Call, text: bytes) -> JobSpec:
        if len(text) > LINE_BYTES_MAX:
            raise Unprocessable(f"The line has {len(text)} bytes; 1 MiB is the most.")
        spec, said = decode_twice(text, JobSpec)
        return with_defaults(self._core, in_namespace(spec, call.namespace), said)

    async def _create(self, wanted: list[_Wanted], call: Call, make_idem: MakeIdem) -> None:
        asked = [Asked(spec, make_idem(f":{line.number}")) for line, spec in wanted]
        came = await self._core.jobs.create_all(asked, by=call.principal.id)
        for (line, _), one in zip(wanted, came, strict=True):
            line.take(one, 201)

    async def _replace(self, taken: list[_Wanted], call: Call, make_idem: MakeIdem) -> list[_Wanted]:
        """Replace jobs by their names; return the lines whose name came before: they find what that one leaves."""
        try:
            require(call.principal, "job:update")
        except ChronosError as error:
            for line, _ in taken:
                line.refuse(error)
            return []
        first = {line.name: line for line, _ in reversed(taken)}
        now = [one for one in taken if first[one[0].name] is one[0]]
        asked = [Asked(spec, make_idem(f":{line.number}:put")) for line, spec in now]
        came = await self._core.jobs.replace_all(asked, by=call.principal.id)
        for (line, _), one in zip(now, came, strict=True):
            line.take(one, 200)
        return [one for one in taken if first[one[0].name] is not one[0]]


def _slices(lines: list[_Line]) -> Iterator[list[_Line]]:
    """Yield the lines in order, as many at a time as are dealt with at once."""
    part: list[_Line] = []
    size = 0
    for line in lines:
        if part and (len(part) == SLICE_LINES or size + len(line.text) > SLICE_BYTES):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line.text)
    yield part
