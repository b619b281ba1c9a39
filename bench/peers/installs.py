"""What peers are installed into: folders of a cache outside of the repository, made once and used again."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
from bench.peers.catalogue import Peer

DRIVERS = Path(__file__).with_name("drivers")
INSTALL_S = 600.0
MADE = ".made"
VERSIONS = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"


class NotInstalled(Exception):
    """What a peer is made of could not be had; the message says why."""


def cache() -> Path:
    """Return where installations are kept: `chronos-bench-peers` among the caches of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chronos-bench-peers"


def name_of(requirement: str) -> str:
    """Return the name of the package that is required."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def folder_name(peer: Peer) -> str:
    """Return the name of the folder for what a peer needs: peers that need the same share it."""
    needed = [*peer.python, peer.npm and (DRIVERS / peer.npm / "package.json").read_text(), peer.go, sys.version]
    digest = hashlib.sha256(repr(needed).encode()).hexdigest()[:12]
    kind = "python" if peer.python else ("npm" if peer.npm else "go")
    return f"{kind}-{digest}"


def installed(peer: Peer, root: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs the peer's driver, and the versions of what it is made of.

    Raises:
        NotInstalled: A package could not be fetched, or could not be built.
    """
    folder = root / folder_name(peer)
    if peer.python:
        return _python(peer, folder)
    if peer.npm:
        return _npm(peer, folder)
    if peer.go:
        return _go(peer, folder)
    return [sys.executable, str(DRIVERS / peer.driver)], {}


def _python(peer: Peer, folder: Path) -> tuple[list[str], dict[str, str]]:
    python = folder / "bin/python"
    if not (folder / MADE).exists():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.python])
        (folder / MADE).touch()
    versions = _run([str(python), "-c", VERSIONS, *map(name_of, peer.python)])
    return [str(python), str(DRIVERS / peer.driver)], msgspec.json.decode(versions, type=dict[str, str])


def _npm(peer: Peer, folder: Path) -> tuple[list[str], dict[str, str]]:
    if not (folder / MADE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(DRIVERS / peer.npm / "package.json", folder)
        _run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
        (folder / MADE).touch()
    shutil.copy(DRIVERS / peer.driver, folder)  # a module finds packages beside itself
    wanted = msgspec.json.decode((folder / "package.json").read_bytes(), type=dict[str, object])
    versions = wanted["dependencies"]
    assert isinstance(versions, dict)
    return ["node", str(folder / Path(peer.driver).name)], versions


def _go(peer: Peer, folder: Path) -> tuple[list[str], dict[str, str]]:
    module, _, version = peer.go.partition("@")
    if not (folder / MADE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run(["go", "install", peer.go], environment={"GOBIN": str(folder)})
        (folder / MADE).touch()
    program = re.sub(r"/v\d+$", "", module).rpartition("/")[2]
    return [sys.executable, str(DRIVERS / peer.driver), str(folder / program)], {program: version}


def _run(command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{' '.join(command[:3])} took longer than {INSTALL_S:g} s") from None
    if done.returncode:
        raise NotInstalled(f"{Path(command[0]).name} could not install it: {_reason(done.stderr)}")
    return done.stdout


def _reason(errors: str) -> str:
    """Return the last line of errors that says something, without addresses."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return re.sub(r"https?://\S+ ?", "", lines[-1]) if lines else "it did not say why"
