"""Doing what was planned, below a root; and asking the service manager."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from chronos.cli.service.plan import Action, MakeFolder, RemoveFile, Run, WriteFile
from chronos.errors import Denied, Unavailable

COMMAND_S = 120.0
ROOT = Path("/")


class CommandFailed(Exception):
    """A command of the service manager failed."""


class Machine:
    """The machine, or a folder that stands for it: below another root, files are written and no command is run."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root

    @property
    def is_real(self) -> bool:
        """Whether this is the machine itself."""
        return self._root == ROOT

    def read(self, path: Path) -> bytes | None:
        """Return what a file holds; None when there is none."""
        try:
            return self._at(path).read_bytes()
        except FileNotFoundError:
            return None
        except PermissionError as exc:
            raise Denied(f"{path} cannot be read by this user.") from exc

    def do(self, action: Action) -> bool:
        """Do it; return whether it was done, and not left out because this is not the machine itself.

        Raises:
            Denied: This user may not.
            CommandFailed: What it said is in the message.
        """
        try:
            if isinstance(action, Run):
                return self._run(action)
            self._change(action)
        except PermissionError as exc:
            raise Denied(f"This user may not {action.words()}: run it with sudo, or install with --user.") from exc
        return True

    def _change(self, action: MakeFolder | WriteFile | RemoveFile) -> None:
        path = self._at(action.path)
        if isinstance(action, MakeFolder):
            if not path.is_dir():
                path.mkdir(mode=0o700, parents=True)
                if action.owner and self.is_real:
                    shutil.chown(path, action.owner, action.owner)
        elif isinstance(action, WriteFile):
            _replace(path, action.data)
        else:
            path.unlink(missing_ok=True)

    def _run(self, action: Run) -> bool:
        if not self.is_real:
            return False
        code, said = ask(action.argv)
        if code != 0 and not action.may_fail:
            raise CommandFailed(f"`{' '.join(action.argv)}` failed ({code}): {said or 'it said nothing'}")
        return True

    def _at(self, path: Path) -> Path:
        return self._root / path.relative_to("/")


def ask(argv: list[str]) -> tuple[int, str]:
    """Run a command; return its exit code, and what it said.

    Raises:
        Unavailable: It is not there, or does not end within two minutes.
    """
    try:
        done = subprocess.run(  # noqa: S603  # the service manager's own commands, put together in this package
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND_S, check=False
        )
    except FileNotFoundError as exc:
        raise Unavailable(f"There is no `{argv[0]}` on this machine.") from exc
    except subprocess.TimeoutExpired as exc:
        raise Unavailable(f"`{' '.join(argv)}` did not end within {COMMAND_S:.0f} s.") from exc
    return done.returncode, " ".join(done.stdout.split())


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "wb") as file:
        os.fchmod(file.fileno(), 0o644)  # whatever the umask is: the manager of services reads it as somebody else
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
