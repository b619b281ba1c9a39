"""Every flag of `rpr`, as one table: what it is called, what it takes, and which modes it belongs to.

The parser, the help, the did-you-mean and the reference are all made from it.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What a flag takes; the value is how the help shows it."""

    SWITCH = ""
    DURATION = "DURATION"
    COUNT = "N"
    NUMBER = "NUMBER"
    TEXT = "TEXT"


class Flag(NamedTuple):
    """One flag.

    Attributes:
        name: The long name, without dashes.
        short: Other spellings, with theirs.
        modes: The subcommands it belongs to; empty: all of them.
        choices: What it may be; empty: anything of its kind.
        metavar: How the help shows the value, where the kind alone says too little.
    """

    name: str
    kind: Kind
    group: str
    help: str
    short: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    metavar: str = ""

    @property
    def dest(self) -> str:
        return self.name.replace("-", "_")

    @property
    def spellings(self) -> tuple[str, ...]:
        short = [each for each in self.short if not each.startswith("--")]
        return (*short, f"--{self.name}", *(each for each in self.short if each.startswith("--")))

    @property
    def takes(self) -> str:
        """How the value is shown in help; empty for a switch."""
        return "|".join(self.choices) or self.metavar or self.kind.value


S, D, C, N, T = Kind.SWITCH, Kind.DURATION, Kind.COUNT, Kind.NUMBER, Kind.TEXT

EVERY = ("interval", "count", "duration")
TICKING = (*EVERY, "cron")
STRATEGIES = ("exponential", "fibonacci", "linear", "polynomial", "decorrelated-jitter")
BOUNDED = ("adaptive", "load-adaptive", "genetic", "chaos")
ADAPTIVE = (*BOUNDED, "learn")

TIMING = "Timing"
STOPPING = "When to stop"
RUNNING = "Running the command"
OUTPUT = "Output"
VERDICT = "Success and failure"
HTTP = "HTTP-aware timing"
OBSERVED = "Health, metrics and traces"
PLUGINS = "Plug-ins"
TURNS = "Many machines"

FLAGS = (
    Flag("every", D, TIMING, "Time from one start to the next.", ("-e",), EVERY),
    Flag("cron", T, TIMING, "Cron expression, or @daily and its like.", (), ("cron",), metavar="EXPRESSION"),
    Flag("timezone", T, TIMING, "Time zone; this machine's unless said.", ("--tz",), ("cron", "learn"), metavar="ZONE"),
    Flag("rate", T, TIMING, "How many runs in how long, for example 100/1h.", ("-r",), ("rate-limit",), metavar="N/D"),
    Flag(
        "retry-pattern",
        T,
        TIMING,
        "Also keep room for tries this much later, for example 0,10m,30m.",
        ("-p",),
        ("rate-limit",),
        metavar="D,D…",
    ),
    Flag("show-next", S, TIMING, "Say on stderr when the next run is allowed.", ("-n",), ("rate-limit",)),
    Flag("base-interval", D, TIMING, "The interval it starts from.", ("-b",), ADAPTIVE),
    Flag("min-interval", D, TIMING, "Never wait less than this (100ms; other modes base / 10).", (), BOUNDED),
    Flag("max-interval", D, TIMING, "Never wait more than this (30s; chaos base x 5, others base x 10).", (), BOUNDED),
    Flag("slow-threshold", N, TIMING, "Slower than this many base intervals: wait longer (2).", (), ("adaptive",)),
    Flag("fast-threshold", N, TIMING, "Faster than this many base intervals: wait less (0.5).", (), ("adaptive",)),
    Flag(
        "failure-threshold",
        N,
        TIMING,
        "Success less likely than this is bad (0.3; learn 0.5).",
        (),
        ("adaptive", "learn"),
    ),
    Flag("show-metrics", S, TIMING, "Print interval, success and circuit after each run.", ("-m",), ("adaptive",)),
    Flag("intensity", N, TIMING, "How wild: from 0, an interval, to 1 (0.3).", (), ("chaos",)),
    Flag("target-cpu", N, TIMING, "A CPU busier than this percentage: wait longer (70).", (), ("load-adaptive",)),
    Flag("target-memory", N, TIMING, "Memory fuller than this percentage: wait longer (80).", (), ("load-adaptive",)),
    Flag("target-load", N, TIMING, "A load average above this: wait longer (1).", (), ("load-adaptive",)),
    Flag(
        "base-delay",
        D,
        TIMING,
        "The first delay.",
        ("-bd",),
        ("exponential", "fibonacci", "polynomial", "decorrelated-jitter"),
    ),
    Flag("increment", D, TIMING, "How much longer each delay is.", ("-inc",), ("linear",)),
    Flag("exponent", N, TIMING, "The power the delays grow by (2).", ("-exp",), ("polynomial",)),
    Flag(
        "multiplier",
        N,
        TIMING,
        "What each delay is multiplied by (2; decorrelated-jitter 3).",
        (),
        ("exponential", "decorrelated-jitter"),
    ),
    Flag("max-delay", D, TIMING, "No delay is longer than this (60s).", ("-md",), STRATEGIES),
    Flag(
        "attempts",
        C,
        TIMING,
        "How many runs at most (3; with --delays one more than those).",
        ("-a",),
        (*STRATEGIES, "delays"),
    ),
    Flag("delays", T, TIMING, "The delays, one by one.", (), ("delays",), metavar="D,D…"),
    Flag("jitter", T, TIMING, "Move each start at random, by this share of the wait.", ("-j",), metavar="PERCENT"),
    Flag("immediate", S, TIMING, "Run once at the start; only cron needs telling.", ("--now",), (*TICKING, *ADAPTIVE)),
    Flag("no-immediate", S, TIMING, "Wait for the first interval to pass.", (), (*EVERY, *ADAPTIVE)),
    Flag(
        "on-busy",
        T,
        TIMING,
        "What to do when a run is due and one is on (skip).",
        (),
        TICKING,
        ("skip", "queue", "restart"),
    ),
    Flag("concurrency", C, TIMING, "How many runs may be on at once (1).", (), TICKING),
    Flag("seed", C, TIMING, "Draw the same random numbers each time."),
    Flag("times", C, STOPPING, "Stop after so many runs.", ("-t",)),
    Flag("for", D, STOPPING, "Stop after this long; a run that is on is ended.", ("-f",)),
    Flag("until", T, STOPPING, "Stop at this time: 15:30, or 2027-01-31T15:30.", ("-u",), metavar="TIME"),
    Flag("until-success", S, STOPPING, "Stop after the first run that succeeds."),
    Flag("until-failure", S, STOPPING, "Stop after the first run that fails."),
    Flag("until-change", S, STOPPING, "Stop when stdout is not what it was the run before."),
    Flag("until-match", T, STOPPING, "Stop when the output matches.", (), metavar="REGEX"),
    Flag("max-failures", C, STOPPING, "Stop after so many failures in a row."),
    Flag("timeout", D, RUNNING, "End a run that takes longer than this; 0: never.", ("-T",)),
    Flag("grace", D, RUNNING, "How long a run that is ended may take to clean up (5s).", ("-g",)),
    Flag(
        "stdin",
        T,
        RUNNING,
        "What the command reads: nothing (null), or rpr's own input each time.",
        (),
        (),
        ("null", "replay"),
    ),
    Flag(
        "exit-code",
        T,
        RUNNING,
        "Exit with 0 or 1 for all runs (summary), or with the last run's own code.",
        (),
        (),
        ("summary", "last"),
    ),
    Flag("dry-run", S, RUNNING, "Say what would be done and when, and do nothing; with --json as one object."),
    Flag("next", C, RUNNING, "How many starts --dry-run shows (5)."),
    Flag(
        "to-job",
        T,
        RUNNING,
        "Print the job file that would run the same on a server, and do nothing.",
        metavar="NAME",
    ),
    Flag("success-pattern", T, VERDICT, "A run whose output matches has succeeded.", (), metavar="REGEX"),
    Flag("failure-pattern", T, VERDICT, "A run whose output matches has failed; it wins.", (), metavar="REGEX"),
    Flag("case-insensitive", S, VERDICT, "Patterns do not tell A from a."),
    Flag("stream", S, OUTPUT, "Show the command's output as it comes; the default.", ("-s",)),
    Flag("quiet", S, OUTPUT, "Show nothing but an error at the end.", ("-q",)),
    Flag("verbose", S, OUTPUT, "Show what is done, and statistics at the end.", ("-v",)),
    Flag("stats-only", S, OUTPUT, "Show statistics at the end and nothing else."),
    Flag("output-prefix", T, OUTPUT, "Put this before every line.", ("-o",)),
    Flag("buffer", T, OUTPUT, "Pass output on as it comes, by line, or by run.", (), (), ("none", "line", "block")),
    Flag("watch", S, OUTPUT, "Show runs on the whole screen, with what has changed; ? lists the keys.", ("-w",)),
    Flag("json", S, OUTPUT, "Print one JSON object for each run instead of its output."),
    Flag("joblog", T, OUTPUT, "Add a line for each run to this file.", (), metavar="FILE"),
    Flag("resume", S, OUTPUT, "Go on where the --joblog ends."),
    Flag("http-aware", S, HTTP, "Heed what an HTTP answer in the output asks to wait."),
    Flag("http-min-delay", D, HTTP, "Wait at least this long then (1s)."),
    Flag("http-max-delay", D, HTTP, "Wait at most this long then (30m)."),
    Flag("http-parse-headers", S, HTTP, "Read headers; the default."),
    Flag("http-no-parse-headers", S, HTTP, "Do not read headers."),
    Flag("http-parse-json", S, HTTP, "Read a JSON body; the default."),
    Flag("http-no-parse-json", S, HTTP, "Do not read a JSON body."),
    Flag("http-trust-client", S, HTTP, "Heed other 4xx than 403 and 429, too."),
    Flag("http-custom-fields", T, HTTP, "JSON fields to look at first.", (), metavar="NAME,NAME…"),
    Flag("health-port", C, OBSERVED, "Answer /health, /ready and /live on this port.", (), metavar="PORT"),
    Flag("metrics-port", C, OBSERVED, "Answer /metrics for Prometheus on this port.", (), metavar="PORT"),
    Flag("otlp-endpoint", T, OBSERVED, "Send OpenTelemetry a span of each run.", (), metavar="URL"),
    Flag("executor", T, PLUGINS, "Let a plug-in say what is started for each run.", (), metavar="NAME:KEY=VALUE"),
    Flag("output", T, PLUGINS, "Show what plug-ins make of each run.", (), metavar="NAME:KEY=VALUE,…"),
    Flag("plugin-dir", T, PLUGINS, "The directory with plug-ins.", (), metavar="DIR"),
    Flag("plugin-pins", T, PLUGINS, "The files in it to trust.", (), metavar="NAME=SHA256,…"),
    Flag("plugin-sandbox", S, PLUGINS, "Run every plug-in in a process of its own, with limits."),
    Flag(
        "coordinate",
        T,
        TURNS,
        "Take turns with others that name the same resource of a server.",
        metavar="chronos://HOST:PORT/RESOURCE",
    ),
    Flag(
        "on-coordinator-loss",
        T,
        TURNS,
        "What to do when that server does not answer (wait).",
        choices=("wait", "alone", "stop"),
    ),
    Flag("config", T, RUNNING, "Read defaults from this TOML file.", (), metavar="FILE"),
    Flag("help", S, RUNNING, "Show this.", ("-h",)),
)

BY_SPELLING = {spelling: flag for flag in FLAGS for spelling in flag.spellings}


def of(subcommand: str) -> list[Flag]:
    """Return the flags that `subcommand` takes, in the order of the help."""
    return [flag for flag in FLAGS if not flag.modes or subcommand in flag.modes]
