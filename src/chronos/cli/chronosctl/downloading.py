"""Exports, fetched to their end: what breaks off is picked up behind the last mark that arrived."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from chronos.cli.chronosctl.session import Session
from chronos.client.operation import Operation
from chronos.errors import ChronosError, Invalid, Unavailable

LOSSES_MAX = 5
LEVEL = 6
"""Of compression: gzip's own choice."""


def download(session: Session, operation: Callable[[str], Operation[Any]], output: str) -> int:
    """Write an export to the file `output` (`-`: standard output); return how many records it held.

    A file whose name ends in `.gz` is compressed.

    Args:
        operation: Makes the request that begins behind a cursor; an empty one is the beginning.

    Raises:
        Invalid: The file cannot be written, or is there already.
        Unavailable: The export broke off, and the server does not answer any more.
        ChronosError: It cannot be written to its end.
    """
    try:
        return _download(session, operation, output)
    except BrokenPipeError:
        raise  # the reader has left
    except OSError as exc:
        raise ChronosError(f"--to: {output} cannot be written: {exc.strerror}.") from exc


def _download(session: Session, operation: Callable[[str], Operation[Any]], output: str) -> int:
    with ExitStack() as open_files:
        file: BinaryIO | gzip.GzipFile
        if output == "-":
            file = sys.stdout.buffer
        else:
            try:
                file = opened = open_files.enter_context(Path(output).open("xb"))
                if output.endswith(".gz"):
                    file = open_files.enter_context(gzip.open(opened, "wb", LEVEL))
            except OSError as exc:
                why = "it is there already" if isinstance(exc, FileExistsError) else exc.strerror
                raise Invalid(f"--to: {output} cannot be written: {why}.") from exc
        records = 0
        for line in whole_lines(session, operation):
            file.write(line + b"\n")
            records += line.startswith((b'{"type":"execution"', b'{"type":"range"'))
        file.flush()
        return records


def whole_lines(session: Session, operation: Callable[[str], Operation[Any]]) -> Iterator[bytes]:
    """Yield the lines of an export, those between two marks when the second one is there.

    Raises: as `download`.
    """
    cursor, losses = "", 0
    while True:
        waiting: list[bytes] = []
        try:
            for line in _split(session.client.pieces(operation(cursor))):
                waiting.append(line)
                if line.startswith(b'{"type":"mark"'):
                    yield from waiting
                    waiting, losses = [], 0
                    cursor = str(msgspec.json.decode(line)["cursor"])
                elif line.startswith(b'{"type":"end"'):
                    yield from waiting
                    return
            lost = Unavailable("The export broke off.")
        except Unavailable as exc:
            lost = exc
        losses += 1
        if losses > LOSSES_MAX:
            raise lost
        session.note(f"The export broke off ({lost}) and is picked up behind its last mark.")


def _split(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield whole lines without their ends; what is behind the last end is none."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
