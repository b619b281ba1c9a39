"""What was asked for, checked as a whole: from flag values to what the engine takes. Nothing runs before that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from chronos.cli.rpr.reading import Values
from chronos.cli.rpr.subcommands import Subcommand
from chronos.errors import Invalid
from chronos.repeater.engine import Plan
from chronos.repeater.httpaware import HttpRules
from chronos.repeater.patterns import Pattern, Patterns, compiled
from chronos.repeater.stops import Stops
from chronos.timing.clock import Clock

CONCURRENCY_MAX = 256
NEXT_MAX = 1000
POSITIVE = ("every", "times", "for", "max_failures", "attempts", "concurrency", "http_max_delay", "next")
EXCLUSIVE = (
    ("quiet", "stream"),
    ("quiet", "verbose"),
    ("stats_only", "stream"),
    ("stats_only", "verbose"),
    ("stats_only", "quiet"),
    ("json", "verbose"),
    ("json", "stats_only"),
    ("json", "quiet"),
    ("json", "stream"),
    ("json", "output_prefix"),
    *(
        ("watch", other)
        for other in ("json", "quiet", "verbose", "stats_only", "stream", "output_prefix", "buffer", "output")
    ),
    *(("watch", other) for other in ("show_metrics", "show_next")),
    *(("output", other) for other in ("json", "quiet", "stats_only", "stream", "buffer", "output_prefix", "watch")),
    ("immediate", "no_immediate"),
    ("coordinate", "watch"),  # a key can start a run, which has to wait for its turn
    ("http_parse_json", "http_no_parse_json"),
    ("http_parse_headers", "http_no_parse_headers"),
)


class Asked(NamedTuple):
    """A command line that makes sense.

    Attributes:
        values: What was typed, for whatever is not in the plan.
    """

    subcommand: Subcommand
    values: Values
    plan: Plan

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def is_on(self, name: str) -> bool:
        return bool(self.values.get(name))


def asked(subcommand: Subcommand, values: Values, argv: tuple[str, ...], clock: Clock) -> Asked:
    """Return what was asked for.

    Raises:
        Invalid: It cannot be done; the message says which flag, and what to write instead.
    """
    if not argv:
        raise Invalid(f"command required: put it behind `--`, for example `{subcommand.example}`.")
    for first, second in EXCLUSIVE:
        if values.get(first) and values.get(second):
            raise Invalid(f"{_flag(first)} and {_flag(second)} exclude each other; leave one of them out.")
    for name in subcommand.required:
        if not values.get(name):
            raise Invalid(f"{_flag(name)} is required for the {subcommand.name} subcommand: `{subcommand.example}`.")
    _check_numbers(values)
    return Asked(subcommand, values, _plan(subcommand, values, argv, clock))


def _check_numbers(values: Values) -> None:
    for name in POSITIVE:
        if name in values and values[name] <= 0:
            raise Invalid(f"{_flag(name)} must be more than 0.")
    if values.get("concurrency", 1) > CONCURRENCY_MAX:
        raise Invalid(f"--concurrency must be at most {CONCURRENCY_MAX}.")
    if values.get("next", 1) > NEXT_MAX:
        raise Invalid(f"--next must be at most {NEXT_MAX}.")
    for name in ("health_port", "metrics_port"):
        if not 0 < values.get(name, 1) < 65_536:
            raise Invalid(f"{_flag(name)} must be from 1 to 65535.")
    if values.get("watch") and values.get("stdin") == "replay":
        raise Invalid("--watch reads the keyboard; leave out --stdin replay.")
    if values.get("resume") and not values.get("joblog"):
        raise Invalid("--resume needs --joblog FILE, the log to go on from.")
    if values.get("on_coordinator_loss") and not values.get("coordinate"):
        raise Invalid("--on-coordinator-loss needs --coordinate chronos://HOST:PORT/RESOURCE.")
    if values.get("coordinate") and values.get("concurrency", 1) > 1:
        raise Invalid("--coordinate gives one turn at a time; leave --concurrency out.")
    if values.get("http_min_delay", 1.0) > values.get("http_max_delay", 1800.0) and "http_min_delay" in values:
        raise Invalid("--http-min-delay must not be more than --http-max-delay.")


def _plan(subcommand: Subcommand, values: Values, argv: tuple[str, ...], clock: Clock) -> Plan:
    return Plan(
        argv,
        stops=_stops(values, clock),
        timeout_s=values.get("timeout") or None,
        grace_s=values.get("grace", 5.0),
        patterns=Patterns(**dict(_patterns(values))),
        http=_http(values) if values.get("http_aware") else None,
        final=subcommand.retries,
        keeps_output=bool(values.get("json") or values.get("output")),
    )


def _stops(values: Values, clock: Clock) -> Stops:
    until = None
    if "until" in values:
        from chronos.cli.rpr.until import until_at

        until = until_at(values["until"], clock)
    return Stops(
        times=values.get("times"),
        for_s=values.get("for"),
        until_at=until,
        on_success=bool(values.get("until_success")),
        on_failure=bool(values.get("until_failure")),
        on_change=bool(values.get("until_change")),
        on_match="until_match" in values,
        failures_max=values.get("max_failures"),
    )


def _patterns(values: Values) -> Iterator[tuple[str, Pattern]]:
    fold = bool(values.get("case_insensitive"))
    for field, name in (("failure", "failure-pattern"), ("success", "success-pattern"), ("until", "until-match")):
        if (text := values.get(name.replace("-", "_"))) is not None:
            yield field, compiled(name, text, case_insensitive=fold)


def _http(values: Values) -> HttpRules:
    fields = (field.strip() for field in values.get("http_custom_fields", "").split(","))
    maximum = values.get("http_max_delay", 1800.0)
    return HttpRules(
        min_s=min(values.get("http_min_delay", 1.0), maximum),
        max_s=maximum,
        headers=not values.get("http_no_parse_headers"),
        json=not values.get("http_no_parse_json"),
        trust_client=bool(values.get("http_trust_client")),
        fields=tuple(field for field in fields if field),
    )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
