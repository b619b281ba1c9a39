"""The modes as a person names them: names, aliases, what they need, and examples."""

from __future__ import annotations

from typing import NamedTuple


class Subcommand(NamedTuple):
    """One mode on the command line.

    Attributes:
        required: Flags without which it cannot run.
        retries: Whether it tries until a run succeeds, so that only the last run counts.
        example: A line that works as it stands.
    """

    name: str
    aliases: tuple[str, ...]
    summary: str
    required: tuple[str, ...]
    example: str
    retries: bool = False


SUBCOMMANDS = (
    Subcommand(
        "interval",
        ("int", "i"),
        "Run at a fixed interval.",
        ("every",),
        "rpr interval --every 30s --times 10 -- curl -s http://localhost/",
    ),
    Subcommand("count", ("cnt", "c"), "Run so many times.", ("times",), "rpr count --times 5 -- echo hello"),
    Subcommand("duration", ("dur", "d"), "Run for so long.", ("for",), "rpr duration --for 1m --every 10s -- date"),
    Subcommand(
        "cron", ("cr",), "Run when a cron expression says so.", ("cron",), "rpr cron --cron '0 9 * * MON-FRI' -- date"
    ),
    Subcommand(
        "exponential",
        ("exp", "backoff", "back", "b"),
        "Try until it works; each delay is a multiple of the one before.",
        ("base_delay",),
        "rpr exponential --base-delay 1s --attempts 5 -- curl -fsS http://localhost/",
        retries=True,
    ),
    Subcommand(
        "fibonacci",
        ("fib",),
        "Try until it works; delays of 1, 1, 2, 3, 5, 8 … times the first.",
        ("base_delay",),
        "rpr fibonacci --base-delay 1s --attempts 5 -- curl -fsS http://localhost/",
        retries=True,
    ),
    Subcommand(
        "linear",
        ("lin",),
        "Try until it works; each delay is longer by the same.",
        ("increment",),
        "rpr linear --increment 2s --attempts 5 -- curl -fsS http://localhost/",
        retries=True,
    ),
    Subcommand(
        "polynomial",
        ("poly",),
        "Try until it works; delays grow by a power of the try.",
        ("base_delay",),
        "rpr polynomial --base-delay 1s --exponent 1.5 -- curl -fsS http://localhost/",
        retries=True,
    ),
    Subcommand(
        "decorrelated-jitter",
        ("dj",),
        "Try until it works; delays are drawn, so that many do not try at once.",
        ("base_delay",),
        "rpr decorrelated-jitter --base-delay 1s --attempts 5 -- curl -fsS http://localhost/",
        retries=True,
    ),
    Subcommand(
        "delays",
        ("retry",),
        "Try until it works, after the delays you name.",
        ("delays",),
        "rpr delays --delays 1s,2s,4s -- curl -fsS http://localhost/",
        retries=True,
    ),
    Subcommand(
        "rate-limit",
        ("rate", "rl", "r"),
        "Run as often as a rate allows, and no more.",
        ("rate",),
        "rpr rate-limit --rate 100/1h -- curl -s http://localhost/",
    ),
    Subcommand(
        "adaptive",
        ("adapt", "a"),
        "Run more or less often, as the command is fast or slow, works or fails.",
        ("base_interval",),
        "rpr adaptive --base-interval 1s -- curl -fsS http://localhost/",
    ),
    Subcommand(
        "load-adaptive",
        ("load", "la"),
        "Run less often while this host is busy.",
        ("base_interval",),
        "rpr load-adaptive --base-interval 10s -- make test",
    ),
    Subcommand(
        "genetic",
        ("gen", "g"),
        "Let the interval evolve to what works best.",
        ("base_interval",),
        "rpr genetic --base-interval 10s -- curl -fsS http://localhost/",
    ),
    Subcommand(
        "learn",
        ("ln",),
        "Learn at which times of the day it fails, and avoid them.",
        ("base_interval",),
        "rpr learn --base-interval 5m -- curl -fsS http://localhost/",
    ),
    Subcommand(
        "chaos",
        ("ch",),
        "Run at random times, with rushes and lulls.",
        ("base_interval",),
        "rpr chaos --base-interval 10s --intensity 0.5 --seed 7 -- curl -fsS http://localhost/",
    ),
)

PLUGIN = Subcommand(
    "plugin", (), "Run when a plug-in says so; `rpr plugins --help` says more.", (), "rpr plugin NAME --times 5 -- date"
)

BY_NAME = {name: each for each in (*SUBCOMMANDS, PLUGIN) for name in (each.name, *each.aliases)}
