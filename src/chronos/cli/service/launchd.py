"""The property list of launchd, and the commands that install it."""

from __future__ import annotations

import plistlib
from pathlib import Path
from typing import Any

from chronos.cli.service.plan import NAME, WRITTEN_BY, Action, Installation, MakeFolder, RemoveFile, Run, WriteFile

LABEL = f"{NAME}.server"
FILES = 65_536
UMASK = 0o077


def plist(wanted: Installation) -> bytes:
    """Return the property list."""
    log = str(_log(wanted))
    entries: dict[str, Any] = {
        "Label": LABEL,
        "ProgramArguments": wanted.command,
        "RunAtLoad": True,
        # launchd knows no exit code after which starting again is no use: it tries every 10 s, and the log says why.
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": wanted.stop_s,
        "Umask": UMASK,
        "SoftResourceLimits": {"NumberOfFiles": FILES},
        "StandardOutPath": log,
        "StandardErrorPath": log,
        "WrittenBy": WRITTEN_BY,
    }
    if wanted.user:
        entries["UserName"] = wanted.user
    return plistlib.dumps(entries, sort_keys=True)


def _log(wanted: Installation) -> Path:
    return wanted.home / f"Library/Logs/{NAME}.log" if wanted.is_personal else Path(f"/var/log/{NAME}.log")


def plist_path(*, is_personal: bool, home: Path) -> Path:
    """Return where the property list belongs."""
    folder = home / "Library/LaunchAgents" if is_personal else Path("/Library/LaunchDaemons")
    return folder / f"{LABEL}.plist"


def to_install(wanted: Installation, found: bytes | None, *, uid: int) -> list[Action]:
    """Return what installs and starts the service; `found` is the property list that is there."""
    data, path = plist(wanted), plist_path(is_personal=wanted.is_personal, home=wanted.home)
    domain = _domain(is_personal=wanted.is_personal, uid=uid)
    actions: list[Action] = [MakeFolder(wanted.data_dir, wanted.user)]
    if found != data:
        actions += [Run(["launchctl", "bootout", f"{domain}/{LABEL}"], may_fail=True), WriteFile(path, data)]
    # It fails when the service is there already.
    return [*actions, Run(["launchctl", "bootstrap", domain, str(path)], may_fail=found == data)]


def to_uninstall(*, is_personal: bool, home: Path, uid: int) -> list[Action]:
    """Return what stops the service and takes it away."""
    domain = _domain(is_personal=is_personal, uid=uid)
    return [
        Run(["launchctl", "bootout", f"{domain}/{LABEL}"], may_fail=True),
        RemoveFile(plist_path(is_personal=is_personal, home=home)),
    ]


def asking(*, is_personal: bool, uid: int) -> list[str]:
    """Return the command that succeeds when the service is known to launchd."""
    return ["launchctl", "print", f"{_domain(is_personal=is_personal, uid=uid)}/{LABEL}"]


def _domain(*, is_personal: bool, uid: int) -> str:
    return f"gui/{uid}" if is_personal else "system"
