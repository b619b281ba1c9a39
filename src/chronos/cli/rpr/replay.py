"""`--stdin replay`: our own input, read once and given to every run from its beginning."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from chronos.errors import Invalid
from chronos.repeater.unix import Input

INPUT_BYTES_MAX = 1024**3
_PIECE = 1024 * 1024


@contextmanager
def replayed() -> Iterator[Input]:
    """Read all of our input into a file that only we can read, and yield what opens it.

    Raises:
        Invalid: It is a terminal, or longer than 1 GiB.
    """
    if sys.stdin is None or os.isatty(0):
        raise Invalid("--stdin replay: the input is a terminal; give a file or a pipe, for example `… < input.txt`.")
    with TemporaryDirectory(prefix="rpr-") as folder:
        path = Path(folder, "stdin")
        _read_into(path)
        yield lambda: path.open("rb")


def _read_into(path: Path) -> None:
    with path.open("wb") as file, open(0, "rb", closefd=False, buffering=0) as stdin:
        left = INPUT_BYTES_MAX
        while piece := stdin.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise Invalid("--stdin replay: the input is longer than 1 GiB; let the command read a file instead.")
            try:
                file.write(piece)
            except OSError as exc:
                raise Invalid(f"--stdin replay: the input cannot be kept at {path}: {exc.strerror}.") from None
