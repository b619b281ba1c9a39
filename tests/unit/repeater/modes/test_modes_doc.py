"""The reference of the modes says what the code does: every mode, every default, every constant."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chronos.repeater.modes import adaptive, chaos, cron, evolution, genetic, learn, load_adaptive, rate_limit, window
from chronos.repeater.modes.bounds import shown_s
from chronos.repeater.modes.interval import BACK_TO_BACK_S, Interval
from chronos.repeater.modes.retries import (
    DELAYS_MAX,
    GROWTH_MAX,
    DecorrelatedJitter,
    Delays,
    Exponential,
    Fibonacci,
    Linear,
    Polynomial,
)

PAGE = (Path(__file__).parents[4] / "docs" / "reference" / "rpr-modes.md").read_text()
SECTIONS = dict(re.findall(r"^###? (.+?)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
MODES: dict[str, Callable[..., Any]] = {
    "interval, count, duration": Interval,
    "cron": cron.Cron,
    "exponential": Exponential,
    "fibonacci": Fibonacci,
    "linear": Linear,
    "polynomial": Polynomial,
    "decorrelated-jitter": DecorrelatedJitter,
    "delays": Delays,
    "rate-limit": rate_limit.RateLimit,
    "adaptive": adaptive.Adaptive,
    "load-adaptive": load_adaptive.LoadAdaptive,
    "genetic": genetic.Genetic,
    "learn": learn.Learn,
    "chaos": chaos.Chaos,
}
# How the flag of a parameter with a number of its own as default is written.
FLAGS = {
    "multiplier": "multiplier",
    "exponent": "exponent",
    "slow": "slow-threshold",
    "fast": "fast-threshold",
    "failure": "failure-threshold",
    "threshold": "failure-threshold",
    "intensity": "intensity",
    "target_load": "target-load",
}


def rows(section: str) -> dict[str, str]:
    """Return flag → default of the tables of parameters in a section."""
    found = re.findall(r"^\| ((?:`--[a-z-]+`(?:, )?)+) \| (.*?) \|", SECTIONS[section], re.MULTILINE)
    return {flag: default for flags, default in found for flag in re.findall(r"--([a-z-]+)", flags)}


def numbers(make: Callable[..., Any]) -> dict[str, float]:
    """Return parameter → default of a mode, of those whose default is a number and whose flag is known."""
    parameters = inspect.signature(make).parameters.values()
    return {each.name: each.default for each in parameters if each.name in FLAGS}


def test_every_mode_has_a_section_and_stands_in_the_table() -> None:
    for name in MODES:
        assert name in SECTIONS
    table = PAGE.partition("| mode |")[2].partition("\n\n")[0]
    for name in {part for names in MODES for part in names.split(", ")} - {"delays"}:
        assert f"`{name}`" in table


@pytest.mark.parametrize("mode", MODES)
def test_every_default_is_the_codes(mode: str) -> None:
    said = rows(mode)
    assert said
    for parameter, default in numbers(MODES[mode]).items():
        assert float(said[FLAGS[parameter]]) == default


def test_the_tables_say_nothing_of_defaults_that_no_code_has() -> None:
    said = {flag for mode in MODES for flag, default in rows(mode).items() if re.fullmatch(r"[0-9.]+", default)}
    assert said <= {*FLAGS.values(), "intensity"}


def test_what_all_retries_share_is_the_codes() -> None:
    said = rows("The strategies that retry")
    for make in (Exponential, Fibonacci, Linear, Polynomial, DecorrelatedJitter):
        defaults = inspect.signature(make).parameters
        assert said["max-delay"] == shown_s(defaults["max_s"].default).replace("1m", "60s")
        assert said["attempts"].startswith(f"{defaults['attempts'].default};")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("interval, count, duration", f"`count`, `duration`: {shown_s(BACK_TO_BACK_S)}"),
        ("cron", f"back by up to {cron.BACK_S_MAX // 3600} h"),
        ("exponential", f"greater than 1, at most {GROWTH_MAX:g}"),
        ("polynomial", f"greater than 0, at most {GROWTH_MAX:g}"),
        ("delays", f"1 to {DELAYS_MAX:,} durations"),
        ("rate-limit", f"N from 1 to {window.COUNT_MAX:,}"),
        ("rate-limit", f"at most {rate_limit.OFFSETS_MAX} offsets"),
        ("rate-limit", f"at most {rate_limit.PLANNED_MAX:,}"),
        ("adaptive", f"I / {adaptive.FACTOR:g}"),
        ("adaptive", f"I + {shown_s(adaptive.STEP_S)}"),
        ("adaptive", f"{1 - adaptive.SMOOTHING:g} · L + {adaptive.SMOOTHING:g} · r"),
        ("adaptive", f"{adaptive.MEMORY:g} · a + 1"),
        ("adaptive", f"p > {adaptive.RECOVERED:g}"),
        ("adaptive", f"{shown_s(adaptive.MIN_S_DEFAULT)}, {shown_s(adaptive.MAX_S_DEFAULT)}"),
        ("load-adaptive", f"base / {load_adaptive.RANGE:g}, base · {load_adaptive.RANGE:g}"),
        ("load-adaptive", "70, 80 (percent)"),
        ("load-adaptive", {5.0: "five seconds"}[load_adaptive.SAMPLE_EVERY_S]),
        ("genetic", f"{genetic.OFTEN:g} · (1 − x) + {genetic.QUICK:g} · I / (I + r) + {genetic.EASY:g} · (1 − CPU)"),
        ("genetic", f"base / {genetic.RANGE:g}, base · {genetic.RANGE:g}"),
        ("genetic", f"{evolution.NEIGHBOURS_MIN} + {evolution.NEIGHBOURS_SHARE:.0%}".replace("%", " %")),
        ("genetic", f"last {evolution.TRIALS_MAX} trials"),
        ("genetic", f"{evolution.MUTATION_FIRST:g} at first, {1 - evolution.MUTATION_DECAY:.0%}".replace("%", " %")),
        ("genetic", f"at least {evolution.MUTATION_LAST:g}"),
        ("genetic", {8: "A generation has eight", 0: ""}[evolution.POPULATION]),
        ("learn", f"slots of {learn.SLOT_S_MIN // 60} min"),
        ("learn", f"(a + {learn.NEIGHBOURS_WEIGHT:g} · m) / (a + b + {learn.NEIGHBOURS_WEIGHT:g})"),
        ("learn", f"(a + {learn.OPTIMISM:g}) / (a + b + 1)"),
        ("learn", f"lose {1 - learn.MEMORY_PER_DAY:.0%} of their weight a day".replace("%", " %")),
        ("learn", f"at most {shown_s(learn.BASE_S_MAX)}"),
        ("chaos", f"base / {1 / chaos.SHORTEST_SHARE:g}, base · {chaos.LONGEST_SHARE:g}"),
    ],
)
def test_every_constant_stands_in_its_section_as_it_is(section: str, said: str) -> None:
    assert said in " ".join(SECTIONS[section].split())
