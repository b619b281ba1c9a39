"""Finds the program the engine is, and asks it what it is."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog
from msgspec import Struct

from chronos.cluster.etcd.failures import EngineUnusable
from chronos.cluster.etcd.flags import environment
from chronos.cluster.etcd.versions import Version, judge, parse

log = structlog.get_logger("chronos.engine")

BUNDLED = Path(__file__).with_name("bin") / "etcd"
"""Where a package that brings the engine along puts it."""
ENVIRONMENT = "CHRONOS_ETCD"

_ANSWER_S_MAX = 10.0
_OS_RELEASE = Path("/etc/os-release")
_UNKNOWN = "flag provided but not defined: -"

_INSTALL = {
    "debian": "apt-get install -y etcd-server",
    "ubuntu": "apt-get install -y etcd-server",
    "fedora": "dnf install -y etcd",
    "rhel": "dnf install -y etcd",
    "suse": "zypper install -y etcd",
    "arch": "pacman -S --noconfirm etcd",
    "alpine": "apk add etcd",
}


class Engine(Struct, frozen=True):
    """An etcd that a cluster may run on."""

    program: Path
    version: Version


def find(configured: Path | None, environ: Mapping[str, str], bundled: Path = BUNDLED) -> Path:
    """Return the engine's program: what was configured, else what came along, else what is on the `PATH`.

    Args:
        configured: `cluster.engine_binary`; the environment's `CHRONOS_ETCD` says the same.

    Raises:
        EngineUnusable: There is none, or what was configured is none.
    """
    for source, path in (("`cluster.engine_binary`", configured), (ENVIRONMENT, environ.get(ENVIRONMENT))):
        if path:
            return _program(Path(path), source)
    if _is_program(bundled):
        return bundled
    found = shutil.which("etcd", path=environ.get("PATH", os.defpath))
    if found is None:
        raise EngineUnusable(missing(os_release(), is_root=os.geteuid() == 0))
    return Path(found).absolute()


async def identify(program: Path) -> Engine:
    """Return the engine that `program` is; what is weaker with this release is logged.

    Raises:
        EngineUnusable: It does not run, is no etcd, or a release that no cluster may run on.
    """
    code, said = await _ask(program, ["--version"])
    version = parse(said)
    if code != 0 or version is None:
        raise EngineUnusable(f"{program} is no etcd: `--version` ended with {code} and said `{said.strip()[:200]}`.")
    verdict = judge(version)
    if verdict.refusal:
        raise EngineUnusable(f"{verdict.refusal} ({program}). Install a current one, or name it in {ENVIRONMENT}.")
    for warning in verdict.warnings:
        log.warning("engine_old", program=str(program), version=str(version), reason=warning)
    return Engine(program, version)


async def known_flags(engine: Engine, needed: Sequence[str], optional: Sequence[str]) -> list[str]:
    """Return all flags but those optional ones that the engine does not know: one too many, and it ends at once.

    Raises:
        EngineUnusable: It does not know one that is needed.
    """
    flags = [*needed, *optional]
    for _ in range(len(optional) + 1):
        code, said = await _ask(engine.program, [*flags, "--version"])
        if code == 0:
            return flags
        unknown = "--" + said.partition(_UNKNOWN)[2].partition("\n")[0].strip()
        left = [flag for flag in flags if flag.partition("=")[0] != unknown or flag in needed]
        if len(left) == len(flags):
            break
        log.info("engine_flag_unknown", flag=unknown, version=str(engine.version))
        flags = left
    raise EngineUnusable(f"{engine.program} (etcd {engine.version}) refuses its flags: {said.strip()[:300]}")


def missing(system: Mapping[str, str], *, is_root: bool) -> str:
    """Return what to tell whoever has no etcd, with the command that installs it.

    Args:
        system: /etc/os-release; empty elsewhere than on Linux.
    """
    sudo = "" if is_root else "sudo "
    families = [system.get("ID", ""), *system.get("ID_LIKE", "").split()]
    command = next((sudo + _INSTALL[name] for name in families if name in _INSTALL), "")
    if sys.platform == "darwin":
        command = "brew install etcd"
    how = f"Install it: `{command}`" if command else "Install the package `etcd` of this system"
    return (
        f"A cluster runs on etcd, and there is none on this machine. {how}; or name one in `cluster.engine_binary` or"
        f" {ENVIRONMENT}. `cluster.engine: etcd://host:2379` uses one that runs elsewhere."
    )


def os_release(path: Path = _OS_RELEASE) -> dict[str, str]:
    """Return what the system says it is; empty when it does not."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _program(path: Path, source: str) -> Path:
    if not _is_program(path):
        raise EngineUnusable(f"{source}: there is no program at {path}.")
    return path.absolute()


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


async def _ask(program: Path, flags: Sequence[str]) -> tuple[int, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            str(program), *flags, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, env=environment(os.environ),
        )  # fmt: skip
    except OSError as exc:
        raise EngineUnusable(f"{program} cannot be run: {exc.strerror}.") from exc
    try:
        async with asyncio.timeout(_ANSWER_S_MAX):
            said, _ = await process.communicate()
    except TimeoutError:
        raise EngineUnusable(f"{program} does not say within {_ANSWER_S_MAX:g} s which version it is.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode(errors="replace")
