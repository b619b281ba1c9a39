"""What is to be installed, and the actions that do it: values, so that they can be shown before anything is done."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

NAME = "chronos"
WRITTEN_BY = "chronos service install"
"""Stands in every file we write: one without it belongs to somebody else."""


class Installation(Struct, frozen=True, kw_only=True):
    """A service as it is to be. Every path is absolute, as the service will see it.

    Attributes:
        program: The `chronos` to run.
        config: The configuration file; None for none.
        user: Whom the service runs as; empty for whoever installs it for themselves.
        is_personal: Whether it is of one user's session and not of the machine.
        home: The home folder of whoever installs it.
        drain_s: How long running attempts may take at a stop.
        port: Where the API listens; below 1024 it takes a right of its own.
    """

    program: Path
    data_dir: Path
    home: Path
    config: Path | None = None
    user: str = ""
    is_personal: bool = False
    drain_s: float = 30.0
    port: int = 8080

    @property
    def command(self) -> list[str]:
        """What the service runs."""
        config = [] if self.config is None else ["--config", str(self.config)]
        return [str(self.program), "server", *config, "--data-dir", str(self.data_dir)]

    @property
    def stop_s(self) -> int:
        """How long a stop may take before it is killed: the drain, and some time to write what came of it."""
        return int(self.drain_s) + 15


class MakeFolder(Struct, frozen=True, tag="make_folder"):
    """Make a folder that only `owner` may look into; leave one that is there as it is."""

    path: Path
    owner: str = ""

    def words(self) -> str:
        return f"make the folder {self.path}" + (f" for {self.owner}" if self.owner else "")


class WriteFile(Struct, frozen=True, tag="write_file"):
    """Replace a file as a whole."""

    path: Path
    data: bytes

    def words(self) -> str:
        return f"write {self.path}"


class RemoveFile(Struct, frozen=True, tag="remove_file"):
    """Remove a file."""

    path: Path

    def words(self) -> str:
        return f"remove {self.path}"


class Run(Struct, frozen=True, tag="run"):
    """Run a command.

    Attributes:
        may_fail: Whether it is no error that what it undoes was not there.
    """

    argv: list[str]
    may_fail: bool = False

    def words(self) -> str:
        return "run " + " ".join(self.argv)


Action = MakeFolder | WriteFile | RemoveFile | Run


class State(Struct, frozen=True, kw_only=True):
    """How a service stands.

    Attributes:
        file: Where its file is, or would be.
        is_enabled: Whether it starts with the machine, or with the session.
        says: What the service manager calls its state.
    """

    file: Path
    is_installed: bool
    is_enabled: bool = False
    is_running: bool = False
    says: str = ""
