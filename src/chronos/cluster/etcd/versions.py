"""Which releases of etcd a cluster may run on."""

from __future__ import annotations

import re
from typing import NamedTuple

from msgspec import Struct


class Version(NamedTuple):
    """A release of etcd. What comes after the patch number (`-rc.1`) counts for nothing."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


class Verdict(Struct, frozen=True):
    """What is to be said of a release.

    Attributes:
        refusal: Why no cluster may run on it; empty when one may.
        warnings: What is weaker with it than with a current one.
    """

    refusal: str = ""
    warnings: tuple[str, ...] = ()


OLDEST = Version(3, 4, 0)
NEWEST_KNOWN = (3, 7)
CURRENT = Version(3, 5, 26)
"""From here on there is nothing to warn of."""

# Fixed there, https://github.com/etcd-io/etcd/pull/17555: around a compaction a watch could lose events.
_WATCHES_FIXED = {(3, 4): Version(3, 4, 31), (3, 5): Version(3, 5, 13)}


def parse(text: str) -> Version | None:
    """Return the version in what `etcd --version` prints; None when there is none in it."""
    found = re.search(r"(?m)^etcd Version: v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?![\d.])", text)
    return Version(*map(int, found.groups())) if found else None


def judge(version: Version) -> Verdict:
    """Return whether a cluster may run on a release, and what is to be said of it."""
    if version < OLDEST:
        return Verdict(f"etcd {version} is older than {OLDEST}, the oldest that is supported")
    if Version(3, 5, 0) <= version <= Version(3, 5, 2):
        return Verdict(f"etcd {version} may lose or mix up data when it is killed; 3.5.3 mended that")
    return Verdict(warnings=tuple(_warnings(version)))


def _warnings(version: Version) -> list[str]:
    said = []
    if version < CURRENT:
        said.append(f"etcd {version} is old; use {CURRENT} or newer, best the newest 3.6")
    fixed = _WATCHES_FIXED.get(version[:2])
    if fixed is not None and version < fixed:
        said.append(f"etcd {version} may lose watch events around a compaction; gaps are found and read again")
    if Version(3, 5, 1) <= version < CURRENT:
        said.append(f"etcd {version} forgets that a learner was promoted; go to {CURRENT} or newer before 3.6")
    if version[:2] > NEWEST_KNOWN:
        said.append(
            f"etcd {version} is newer than this Chronos knows; it is started like {'.'.join(map(str, NEWEST_KNOWN))}"
        )
    return said
