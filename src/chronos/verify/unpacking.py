"""Exports that were compressed: unpacked to where temporary files lie, for they are read twice and not in order."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from chronos.verify.reading import NotAnExport

_MAGIC: Final = b"\x1f\x8b"
_PIECE: Final = 1 << 20


@contextmanager
def unpacked(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """Yield files that say the same as `paths`, none of them compressed.

    Raises:
        NotAnExport: One cannot be unpacked.
        OSError: One cannot be read, or there is no room.
    """
    if not any(_is_packed(path) for path in paths):
        yield paths
        return
    with tempfile.TemporaryDirectory(prefix="chronos-verify-") as name:
        yield [_unpack(path, Path(name) / str(n)) if _is_packed(path) else path for n, path in enumerate(paths)]


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _unpack(path: Path, into: Path) -> Path:
    try:
        with gzip.open(path, "rb") as packed, into.open("wb") as plain:
            shutil.copyfileobj(packed, plain, _PIECE)
    except (EOFError, gzip.BadGzipFile, zlib.error) as bad:
        raise NotAnExport(f"{path} was cut off or damaged: {bad}") from None
    return into
