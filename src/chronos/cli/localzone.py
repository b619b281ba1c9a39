"""The zone this machine's cron lives in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chronos.timing.zone import zone_names


def local_zone(environ: Mapping[str, str], root: Path = Path("/")) -> str | None:
    """Return the IANA name of the machine's zone, or None when it cannot be told."""
    for name in _candidates(environ, root):
        if name in zone_names():
            return name
    return None


def _candidates(environ: Mapping[str, str], root: Path) -> list[str]:
    found = [environ.get("TZ", "").removeprefix(":")]
    try:
        found.append((root / "etc/timezone").read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError):
        pass
    try:
        found.append(str((root / "etc/localtime").readlink()).rpartition("zoneinfo/")[2])
    except OSError:
        pass
    return found
