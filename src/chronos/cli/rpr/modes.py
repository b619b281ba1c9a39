"""From a subcommand and its flags to the mode that decides when the next run starts.

What a flag's default is belongs to the mode: only what was typed is handed over.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from chronos.cli.rpr.asked import Asked
from chronos.errors import DurationInvalid, Invalid
from chronos.repeater.agenda import Agenda, FollowingAgenda, OnBusy, TickingAgenda
from chronos.repeater.port import Mode, Ticking

Typed = dict[str, Any]


def mode_of(asked: Asked, seed: int) -> Mode:
    """Return the mode that was asked for, its chance drawn from `seed`.

    Raises:
        ModeInvalid: It cannot work with these numbers.
    """
    mode = MAKERS[asked.subcommand.name](asked, seed)
    if "jitter" not in asked.values:
        return mode
    from chronos.repeater.modes.jitter import jittered

    return jittered(mode, _fraction(asked.get("jitter")), seed)


def agenda_of(asked: Asked, mode: Mode) -> Agenda:
    """Return what asks `mode`, with the overlap policy that was asked for."""
    if not isinstance(mode, Ticking):
        return FollowingAgenda(mode)
    return TickingAgenda(mode, on_busy=OnBusy(asked.get("on_busy", "skip")), concurrency=asked.get("concurrency", 1))


def zone_of(asked: Asked) -> str:
    """Return the zone that a cron expression, or a day, is read in: the one that was typed, or this machine's."""
    from chronos.cli.localzone import local_zone

    return asked.get("timezone") or local_zone(os.environ) or "UTC"


def _interval(asked: Asked, _seed: int) -> Mode:
    from chronos.repeater.modes.interval import BACK_TO_BACK_S, Interval

    return Interval(asked.get("every", BACK_TO_BACK_S), immediate=not asked.is_on("no_immediate"))


def _cron(asked: Asked, _seed: int) -> Mode:
    from chronos.repeater.modes.cron import Cron

    return Cron(asked.get("cron"), zone_of(asked), immediate=asked.is_on("immediate"))


def _exponential(asked: Asked, _seed: int) -> Mode:
    from chronos.repeater.modes.retries import Exponential

    return Exponential(asked.get("base_delay"), **_typed(asked, multiplier="multiplier"), **_bounds(asked))


def _fibonacci(asked: Asked, _seed: int) -> Mode:
    from chronos.repeater.modes.retries import Fibonacci

    return Fibonacci(asked.get("base_delay"), **_bounds(asked))


def _linear(asked: Asked, _seed: int) -> Mode:
    from chronos.repeater.modes.retries import Linear

    return Linear(asked.get("increment"), **_bounds(asked))


def _polynomial(asked: Asked, _seed: int) -> Mode:
    from chronos.repeater.modes.retries import Polynomial

    return Polynomial(asked.get("base_delay"), **_typed(asked, exponent="exponent"), **_bounds(asked))


def _decorrelated(asked: Asked, seed: int) -> Mode:
    from chronos.repeater.modes.retries import DecorrelatedJitter
    from chronos.timing.clock import dice

    multiplier = _typed(asked, multiplier="multiplier")
    return DecorrelatedJitter(asked.get("base_delay"), dice(seed), **multiplier, **_bounds(asked))


def _rate_limit(asked: Asked, _seed: int) -> Mode:
    from chronos.repeater.modes.rate_limit import RateLimit

    return RateLimit(asked.get("rate"), durations("retry-pattern", asked.get("retry_pattern", "0")))


def _adaptive(asked: Asked, _seed: int) -> Mode:
    from chronos.repeater.modes.adaptive import Adaptive

    typed = _typed(asked, slow="slow_threshold", fast="fast_threshold", failure="failure_threshold")
    return Adaptive(asked.get("base_interval"), **typed, **_interval_bounds(asked))


def _load_adaptive(asked: Asked, _seed: int) -> Mode:
    from chronos.repeater.load import HostLoad
    from chronos.repeater.modes.load_adaptive import LoadAdaptive

    typed = _typed(asked, target_cpu="target_cpu", target_memory="target_memory", target_load="target_load")
    return LoadAdaptive(asked.get("base_interval"), HostLoad(), **typed, **_interval_bounds(asked))


def _genetic(asked: Asked, seed: int) -> Mode:
    from chronos.repeater.load import HostLoad
    from chronos.repeater.modes.genetic import Genetic
    from chronos.timing.clock import dice

    return Genetic(asked.get("base_interval"), dice(seed), source=HostLoad(), **_interval_bounds(asked))


def _learn(asked: Asked, _seed: int) -> Mode:
    from chronos.repeater.modes.learn import Learn

    typed = _typed(asked, threshold="failure_threshold")
    return Learn(asked.get("base_interval"), zone_of(asked), **typed, immediate=not asked.is_on("no_immediate"))


def _chaos(asked: Asked, seed: int) -> Mode:
    from chronos.repeater.modes.chaos import Chaos
    from chronos.timing.clock import dice

    typed = _typed(asked, intensity="intensity")
    return Chaos(asked.get("base_interval"), dice(seed), **typed, **_interval_bounds(asked))


def _delays(asked: Asked, _seed: int) -> Mode:
    from chronos.repeater.modes.retries import Delays

    return Delays(durations("delays", asked.get("delays")), attempts=asked.get("attempts"))


def _plugin(asked: Asked, seed: int) -> Mode:
    from chronos.cli.rpr.plugged import scheduler_of

    return scheduler_of(asked, seed)


def _interval_bounds(asked: Asked) -> Typed:
    bounds = _typed(asked, min_s="min_interval", max_s="max_interval")
    return {**bounds, "immediate": not asked.is_on("no_immediate")}


def _bounds(asked: Asked) -> Typed:
    return _typed(asked, max_s="max_delay", attempts="attempts")


def _typed(asked: Asked, **names: str) -> Typed:
    """Return parameter → value for those flags that were typed."""
    return {parameter: asked.values[name] for parameter, name in names.items() if name in asked.values}


def durations(name: str, text: str) -> tuple[float, ...]:
    """Return the seconds of `1s,2s,4s`.

    Raises:
        Invalid: One of them is no duration.
    """
    from chronos.timing.duration import SECOND_US, parse_duration

    try:
        return tuple(parse_duration(each.strip()) / SECOND_US for each in text.split(","))
    except DurationInvalid as exc:
        raise Invalid(f"--{name}: {exc}") from None


def _fraction(text: str) -> float:
    """Return what `20%` or `0.2` means."""
    is_percent = text.endswith("%")
    try:
        found = float(text.removesuffix("%"))
    except ValueError:
        raise Invalid(f"--jitter: `{text}` is no share of the interval; write 20% or 0.2.") from None
    return found / 100 if is_percent else found


MAKERS: dict[str, Callable[[Asked, int], Mode]] = {
    "interval": _interval,
    "count": _interval,
    "duration": _interval,
    "cron": _cron,
    "exponential": _exponential,
    "fibonacci": _fibonacci,
    "linear": _linear,
    "polynomial": _polynomial,
    "decorrelated-jitter": _decorrelated,
    "delays": _delays,
    "rate-limit": _rate_limit,
    "adaptive": _adaptive,
    "load-adaptive": _load_adaptive,
    "genetic": _genetic,
    "learn": _learn,
    "chaos": _chaos,
    "plugin": _plugin,
}
