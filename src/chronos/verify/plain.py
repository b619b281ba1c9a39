"""Executions that are as most are, kept as numbers between the passes: a few bytes each instead of a line read twice.

Plain is the first and only series of a due instant's execution, under the id of its job and instant, of a revision that
is known, in a line whose hash and place are those it states. Whatever differs in anything is not plain, and is read
again with more care.
"""

from __future__ import annotations

import tempfile
from array import array
from bisect import bisect_right
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from chronos.verify.hashes import execution_id
from chronos.verify.lines import Row

STATUSES: Final = ("success", "failed", "cancelled", "skipped")
_CODES: Final = {status: code for code, status in enumerate(STATUSES)}
_MEMORY_BYTES: Final = 16 << 20
_BEGINNING: Final = len("occ_") + 8
_REST: Final = 24


MARK_BYTES: Final = 8


class Ran(NamedTuple):
    """Executions of one job in the order of their instants.

    Attributes:
        statuses: Places in `STATUSES`.
        marks: The beginnings of the hashes of their lines, `MARK_BYTES` each.
    """

    instants: array[int]
    statuses: bytearray
    marks: bytearray

    def marked(self) -> list[tuple[int, bytes]]:
        """Return each instant with the mark of its line."""
        begins = range(0, len(self.marks), MARK_BYTES)
        marks = [bytes(self.marks[begin : begin + MARK_BYTES]) for begin in begins]
        return list(zip(self.instants, marks, strict=True))


def code_of(row: Row) -> int:
    """Return the place of a row's status in `STATUSES` if the row is plain, as far as it says by itself; else -1."""
    text = row.discriminator
    if row.series or row.kind != "schedule" or row.type != "execution" or text != str(row.scheduled_s):
        return -1
    if not is_id_of(row.id, row.job_id, text, row.scheduled_s):
        return -1
    return _CODES.get(row.status, -1)


@lru_cache(maxsize=64)
def _beginning(instant_s: int) -> str:
    """Return what the ids of all executions of an instant begin with: it is 40 bits of them, eight digits."""
    return execution_id(instant_s << 120)[:_BEGINNING]


def is_id_of(execution: str, job_id: str, discriminator: str, instant_s: int) -> bool:
    """Whether an id is that of the execution of a job at a due instant, written as ids are."""
    rest = execution[_BEGINNING:]
    if execution[:_BEGINNING] != _beginning(instant_s) or len(rest) != _REST or not (rest.isalnum() and rest.islower()):
        return False
    hashed = blake2b(f"{job_id}\0schedule\0{discriminator}".encode(), digest_size=15).digest()
    try:
        return int(rest, 32) == int.from_bytes(hashed, "big")
    except ValueError:
        return False


class Shelf:
    """Holds the plain executions of segment after segment, on the disk when there are many."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115  # it lasts for both passes
        self._places: dict[int, list[tuple[str, int, int]]] = {}

    def keep(self, segment: int, ran: dict[str, Ran]) -> None:
        """Put away what a segment has, by job."""
        places = self._places.setdefault(segment, [])
        for job_id, mine in ran.items():
            places.append((job_id, self._file.tell(), len(mine.instants)))
            self._file.write(mine.instants.tobytes() + mine.marks + mine.statuses)

    def take(self, segment: int) -> dict[str, Ran]:
        """Return what was put away of a segment."""
        found = {}
        for job_id, place, count in self._places.pop(segment, ()):
            self._file.seek(place)
            instants = array("q")
            instants.frombytes(self._file.read(instants.itemsize * count))
            marks = bytearray(self._file.read(MARK_BYTES * count))
            found[job_id] = Ran(instants, bytearray(self._file.read(count)), marks)
        return found

    def has(self, segment: int) -> bool:
        """Whether anything of a segment is here."""
        return bool(self._places.get(segment))

    def close(self) -> None:
        """Forget everything."""
        self._file.close()


class Stock:
    """The plain executions of one segment as time is swept."""

    def __init__(self, ran: dict[str, Ran]) -> None:
        self._ran = ran
        self._at = dict.fromkeys(ran, 0)

    @property
    def is_over(self) -> bool:
        """Whether everything was given out."""
        return not self._ran

    @property
    def next_s(self) -> int:
        """The lowest instant that was not given out."""
        return min(mine.instants[self._at[job_id]] for job_id, mine in self._ran.items())

    def up_to(self, instant_s: int) -> dict[str, Ran]:
        """Return, by job, what is about instants up to `instant_s` and was not returned before."""
        found = {}
        for job_id, mine in list(self._ran.items()):
            begin = self._at[job_id]
            end = bisect_right(mine.instants, instant_s, begin)
            if begin < end:
                marks = mine.marks[begin * MARK_BYTES : end * MARK_BYTES]
                found[job_id] = Ran(mine.instants[begin:end], mine.statuses[begin:end], marks)
                self._at[job_id] = end
            if end == len(mine.instants):
                del self._ran[job_id]
        return found
