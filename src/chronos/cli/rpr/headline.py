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
    return ", ".join([lead, *_rest(asked), *_seed(asked, seed)])


def banner(asked: Asked, mode: Mode, seed: int) -> str:
    """Return the line that `--verbose` begins with: the numbers the mode goes by, as the flags have them."""
    max_delay = f"max {_shown(asked, 'max_delay', 60.0)}"
    multiplier = f"multiplier {asked.get('multiplier', 3.0 if asked.subcommand.name == DRAWN[0] else 2.0)}x"
    base = f"base delay {_shown(asked, 'base_delay')}"
    increment, exponent = _shown(asked, "increment"), asked.get("exponent", 2.0)
    lead = {
        "adaptive": _adaptive(asked),
        "load-adaptive": _load_adaptive(asked),
        "exponential": f"📈 Exponential strategy: {base}, {max_delay}, {multiplier}",
        "fibonacci": f"🌀 Fibonacci strategy: {base}, {max_delay}",
        "linear": f"📏 Linear strategy: increment {increment}, {max_delay}",
        "polynomial": f"🔢 Polynomial strategy: {base}, exponent {exponent}, {max_delay}",
        "decorrelated-jitter": f"🎲 Decorrelated jitter strategy: {base}, {multiplier}, {max_delay}",
    }.get(asked.subcommand.name)
    return ", ".join([lead, *_rest(asked), *_seed(asked, seed)]) if lead else headline(asked, mode, seed)


def _adaptive(asked: Asked) -> str:
    low, high = _shown(asked, "min_interval", 0.1), _shown(asked, "max_interval", 30.0)
    told = ", with metrics" if asked.is_on("show_metrics") else ""
    return f"🧠 Adaptive execution: base interval {_shown(asked, 'base_interval')}, range {low}-{high}{told}"


def _load_adaptive(asked: Asked) -> str:
    cpu, memory = asked.get("target_cpu", 70.0), asked.get("target_memory", 80.0)
    base, load = _shown(asked, "base_interval"), asked.get("target_load", 1.0)
    return f"⚖️  Load-adaptive execution: base interval {base}, target CPU {cpu:g}%, memory {memory:g}%, load {load}"


def _seed(asked: Asked, seed: int) -> list[str]:
    return [f"seed {seed}"] if is_drawn(asked) else []


def is_drawn(asked: Asked) -> bool:
    """Whether chance has a part in it."""
    return asked.subcommand.name in DRAWN or "jitter" in asked.values


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


def _shown(asked: Asked, name: str, default_s: float = 0.0) -> str:
    return shown_s(asked.get(name, default_s))
