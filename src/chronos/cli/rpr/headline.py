"""The first line of `--verbose` and of `--dry-run`: what is going to happen."""

from __future__ import annotations

from chronos.cli.rpr.asked import Asked
from chronos.repeater.port import Mode
from chronos.repeater.showing import shown_s

DRAWN = ("decorrelated-jitter", "genetic", "chaos")


def headline(asked: Asked, mode: Mode, seed: int) -> str:
    """Return the mode and its stop conditions in a line, and the seed where chance has a part."""
    lead = {
        "interval": f"🕐 Interval execution: {_every(asked)}",
        "count": f"🔢 Count execution: {asked.get('times')} times",
        "duration": f"⏱️  Duration execution: for {_shown(asked, 'for')}",
    }.get(asked.subcommand.name, f"{asked.subcommand.name}: {mode.describe()}")
    chance = [f"seed {seed}"] if asked.subcommand.name in DRAWN or "jitter" in asked.values else []
    return ", ".join([lead, *_rest(asked), *chance])


def _rest(asked: Asked) -> list[str]:
    """Return what the beginning has not said yet."""
    name, parts = asked.subcommand.name, []
    if "times" in asked.values and name != "count":
        parts.append(f"{asked.get('times')} times")
    if "for" in asked.values and name != "duration":
        parts.append(f"for {_shown(asked, 'for')}")
    if "every" in asked.values and name != "interval":
        parts.append(_every(asked))
    return parts


def _every(asked: Asked) -> str:
    return f"every {_shown(asked, 'every')}"


def _shown(asked: Asked, name: str) -> str:
    return shown_s(asked.get(name, 0.0))
