"""A line for each run, in the format of GNU parallel's `--joblog`: what reads those reads these.

    Seq  Host  Starttime  JobRuntime  Send  Receive  Exitval  Signal  Command

Separated by tabs. Starttime is seconds since the epoch, JobRuntime seconds, Receive the bytes of stdout. A run that
was ended by a signal has Exitval 0 and its number in Signal; one that timed out has Exitval 124.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple

from chronos.errors import Invalid
from chronos.repeater.engine import Report
from chronos.repeater.stops import Fate

HEADER = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
TIMED_OUT = 124
_TAIL_BYTES = 1024 * 1024
_EPOCH_S_MAX = 16_000_000_000  # in the year 2477; nothing that was run is later


class Past(NamedTuple):
    """A run of an earlier repetition; `ok` by its exit code, patterns are not in the file."""

    started_at: float
    ok: bool


class Joblog:
    """A listener that appends to a file, a whole line at a time.

    Attributes:
        last_number: Of the run that the file ends with; 0 for a new one.
    """

    def __init__(self, path: str, argv: tuple[str, ...], *, resume: bool) -> None:
        """Open the file.

        Raises:
            Invalid: It cannot be written, is no joblog, or there is one already and it is not to be resumed.
        """
        self._command = shlex.join(argv).replace("\t", " ").replace("\n", " ")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as exc:
            raise Invalid(f"--joblog: {path} cannot be written: {exc.strerror}.") from None
        try:
            self.last_number = self._begin(path, resume=resume)
        except Invalid:
            os.close(self._fd)
            raise

    def past(self) -> list[Past]:
        """Return the runs at the end of the file, as many as fit in a megabyte, in its order."""
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        return list(_past(tail))

    def __enter__(self) -> Joblog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def wrote(self, number: int, stream: int, data: bytes) -> None:
        """Output is counted elsewhere."""

    def ended(self, report: Report) -> None:
        run = report.run
        exit_value, number = max(run.exit_code, 0), max(-run.exit_code, 0)
        if report.fate is Fate.TIMED_OUT:
            exit_value, number = TIMED_OUT, 0
        fields = (
            str(run.number),
            ":",
            f"{run.started_at:.3f}",
            f"{run.ended_s - run.started_s:.3f}",
            "0",
            str(report.output.sizes[0]),
            str(exit_value),
            str(number),
            self._command,
        )
        self._write("\t".join(fields) + "\n")

    def _begin(self, path: str, *, resume: bool) -> int:
        size = os.fstat(self._fd).st_size
        if not size:
            self._write(HEADER)
            return 0
        if not resume:
            raise Invalid(f"--joblog: {path} has lines already; go on with --resume, or name another file.")
        if os.pread(self._fd, len(HEADER), 0) != HEADER.encode():
            raise Invalid(f"--joblog: {path} is no joblog: it does not begin with `Seq`, `Host`, `Starttime` ….")
        tail = os.pread(self._fd, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        if not tail.endswith(b"\n"):
            self._write("\n")  # a line that was cut off by a crash
        return _last_number(tail, path)

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
        while data:
            data = data[os.write(self._fd, data) :]


def _past(tail: bytes) -> Iterator[Past]:
    for line in tail.split(b"\n")[:-1]:
        fields = line.split(b"\t")
        if len(fields) != HEADER.count("\t") + 1 or not fields[0].isdigit():
            continue
        try:
            started_at = float(fields[2])
        except ValueError:
            continue
        if math.isfinite(started_at) and 0 <= started_at < _EPOCH_S_MAX:
            yield Past(started_at, fields[6] == fields[7] == b"0")


def _last_number(tail: bytes, path: str) -> int:
    """Return the number in the last line that is whole."""
    for line in reversed(tail.split(b"\n")[:-1]):
        first, _, rest = line.partition(b"\t")
        if first == b"Seq":
            return 0
        if rest.count(b"\t") == HEADER.count("\t") - 1 and first.isdigit():
            return int(first)
    raise Invalid(f"--joblog: {path} has no line that can be read near its end; name another file.")
