"""The process' end: holds the files, and does what it is told, one thing after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from chronos.errors import ChronosError
from chronos.model.execution import Execution, RangeRecord
from chronos.model.job import Job
from chronos.store.background.protocol import (
    Answer,
    CatchUp,
    Checkpoint,
    Close,
    Closed,
    Executions,
    Failed,
    Finish,
    Note,
    OfSegment,
    OpenSegment,
    OpenState,
    Ranges,
    Request,
    Row,
    SegmentIs,
    StateIs,
    StateRows,
    WriteSegment,
    WriteState,
)
from chronos.store.records import Columns, Record, columns
from chronos.store.segment import SegmentWriter
from chronos.store.sqlitefile import Pause, in_pieces, translated
from chronos.store.state import Key
from chronos.store.statefile import StateWriter
from chronos.store.tables import JOBS

_execution = msgspec.msgpack.Decoder(Execution).decode
_range = msgspec.msgpack.Decoder(RangeRecord).decode
_job = msgspec.msgpack.Decoder(Job).decode
_NIL = msgspec.msgpack.encode(None)


class Desk:
    """State.db and the segments being written, once they have been opened.

    Args:
        pause: Done between two pieces of work of a millisecond or two.
    """

    def __init__(self, pause: Pause) -> None:
        self._pause = pause
        self._state: StateWriter | None = None
        self._segments: dict[str, SegmentWriter] = {}
        self._puts: list[StateRows] = []
        self._records: list[Executions | Ranges] = []

    def gather(self, message: Row) -> None:
        """Keep rows until they are to be written."""
        if isinstance(message, StateRows):
            self._puts.append(message)
        else:
            self._records.append(message)

    def do(self, message: Request) -> Answer:
        """Do what is asked for, and return how the file stands then, or why it was not done."""
        try:
            with translated(Path(message.path)):
                if isinstance(message, Checkpoint | Close):
                    return self._to_either(message)
                if isinstance(message, OpenState | WriteState):
                    return self._to_state(message)
                return self._to_segment(message)
        except ChronosError as error:
            return Failed(error.slug, str(error))
        finally:
            self._puts, self._records = [], []

    def _to_either(self, message: Checkpoint | Close) -> Answer:
        state, segment = self._state, self._segments.get(message.path)
        if isinstance(message, Checkpoint):
            if segment is not None:
                segment.checkpoint()
                return _segment(segment)
            assert state is not None
            state.checkpoint()
            return _state(state)
        if segment is not None:
            del self._segments[message.path]
            segment.close()
        else:
            assert state is not None
            self._state = None
            state.close()
        return Closed()

    def _to_state(self, message: OpenState | WriteState) -> StateIs:
        if isinstance(message, OpenState):
            self._state = StateWriter(Path(message.path), message.pages_max)
            self._state.pause_with(self._pause)
        else:
            assert self._state is not None
            puts = {place: _value(place, raw) for told in self._puts for place, raw in told.rows}
            self._state.write(puts, message.applied, message.time_us, set(message.fresh))
        return _state(self._state)

    def _to_segment(self, message: OfSegment) -> SegmentIs:
        if isinstance(message, OpenSegment):
            self._segments[message.path] = SegmentWriter(Path(message.path), message.fresh)
            self._segments[message.path].pause_with(self._pause)
        segment = self._segments[message.path]
        match message:
            case WriteSegment(_, complete_to, time_us):
                segment.write_rows(
                    list(in_pieces((row for told in self._records for row in _columns(told)), self._pause)),
                    complete_to,
                    time_us,
                )
            case CatchUp():
                segment.catch_up()
            case Finish(_, closed_us, known):
                segment.finish(closed_us, **known)
            case Note(_, known):
                segment.note(**known)
        return _segment(segment)


def _columns(told: Executions | Ranges) -> list[Columns]:
    decode: Callable[[msgspec.Raw], Record] = _execution if isinstance(told, Executions) else _range
    return [columns(decode(raw), bytes(raw)) for raw in told.rows]


def _value(place: Key, raw: msgspec.Raw) -> Job | msgspec.Raw | None:
    """Return what a row is to hold: a job has to be known, of everything else its bytes are enough."""
    if bytes(raw) == _NIL:
        return None
    return _job(raw) if place[0] == JOBS.name else raw


def _state(writer: StateWriter) -> StateIs:
    digest = writer.digest.to_bytes(16, "big")
    return StateIs(writer.applied, writer.time_us, digest, writer.durable, writer.wal_pages)


def _segment(writer: SegmentWriter) -> SegmentIs:
    return SegmentIs(writer.info, writer.waiting, writer.wal_pages)
