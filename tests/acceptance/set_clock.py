"""A wall clock that a test sets under a running server."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("shifted_clock.c")


def require_compiler() -> None:
    """Skip where there is no C compiler; fail there if it is required."""
    if shutil.which("cc") is None:
        assert not os.environ.get("CHRONOS_REQUIRE_SERVICES"), "cc is missing; `make services` installs it"
        pytest.skip("there is no C compiler")


class SetClock:
    """The wall clock of one server, for a test to set."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ahead"
        self._library = folder / "shifted_clock.so"
        self.set(0.0)
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(SOURCE), "-ldl", "-lm"]
        subprocess.run(command, check=True, timeout=60)

    @property
    def env(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "CHRONOS_TEST_CLOCK": str(self._file)}

    def set(self, ahead_s: float) -> None:
        """Let the server's wall clock be so far ahead of the machine's from now on."""
        with self._file.open("r+b" if self._file.exists() else "w+b") as file:  # the same page, which is mapped
            file.write(struct.pack("d", ahead_s))
