"""Run the whole server on one seed, and judge it.

    python -m chronos.testing.simulate --seed 7                     what came of it
    python -m chronos.testing.simulate --seed 7 --transcript        … and everything that happened, line by line
    python -m chronos.testing.simulate --seed 1 --forever           seed after seed, until something breaks or ^C

Exit codes: 0 every promise was kept, 1 one was broken, 2 the command is wrong.
"""

from __future__ import annotations

import argparse
import sys

import msgspec

from chronos.testing.simulation.profile import PROFILES, Profile
from chronos.testing.simulation.report import Report
from chronos.testing.simulation.run import simulate
from chronos.timing.clock import SystemClock

SHOWN_MAX = 50


def main(arguments: list[str] | None = None) -> int:
    """Run as told, and return the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.nodes != 1:
        parser.error("--nodes: only 1 so far. Clusters come with the engine; the world has room for their nodes.")
    if not 0 < given.minutes <= 7 * 24 * 60:
        parser.error("--minutes: more than none, and no more than a week.")
    profile = PROFILES[given.profile]
    if given.forever:
        return _for_ever(given.seed, profile, given.minutes)
    tell = None
    if given.transcript:
        tell = _print_to_stderr if given.json else print
    report = simulate(given.seed, profile=profile, minutes=given.minutes, nodes=given.nodes, tell=tell)
    if given.json:
        print(msgspec.json.encode(report).decode())
    else:
        print(told(report, given.minutes))
    return 1 if report.violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chronos.testing.simulate",
        description="Run the whole server on one seed: virtual time, fake targets, a fake disk, faults, clients.",
    )
    parser.add_argument("--seed", type=int, default=1, help="decides everything that happens")
    parser.add_argument("--nodes", type=int, default=1, help="how many nodes (only 1 so far)")
    parser.add_argument("--minutes", type=float, default=10.0, help="virtual minutes")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="standard", help="what kind of run")
    parser.add_argument("--json", action="store_true", help="print one JSON object, as the last line")
    parser.add_argument("--transcript", action="store_true", help="tell everything that happens")
    parser.add_argument("--forever", action="store_true", help="go on with the next seed until one fails or ^C")
    return parser


def command_of(report: Report, minutes: float) -> str:
    """Return the command that replays a run."""
    return (
        f"python -m chronos.testing.simulate --seed {report.seed} --nodes {report.nodes} --minutes {minutes:g} "
        f"--profile {report.profile} --transcript"
    )


def told(report: Report, minutes: float) -> str:
    """Return a report in words, with the command that replays the run if a promise was broken."""
    lines = [
        f"seed {report.seed}, profile {report.profile}, digest {report.digest}",
        f"{report.virtual_seconds:g} s in {report.real_seconds:g} s, {report.speed:g} times real time",
        f"planned {report.planned}, delivered {report.delivered}, lives {report.lives}",
        f"faults: {_list(report.faults)}",
        f"skips: {_list(report.skips)}",
    ]
    if report.inconclusive:
        lines.append("inconclusive: less than 80 % of the standard load was planned")
    if not report.violations:
        return "\n".join([*lines, "every promise was kept"])
    lines.append(f"SEED {report.seed} BREAKS {len(report.violations)} PROMISES:")
    for violation in report.violations[:SHOWN_MAX]:
        at = "" if violation.at is None else f" at {violation.at:.3f} s"
        lines.append(f"  {violation.rule}{at}: {violation.what}")
    return "\n".join([*lines, f"replay: {command_of(report, minutes)}"])


def _list(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _for_ever(seed: int, profile: Profile, minutes: float) -> int:
    """Run seed after seed; return when one breaks a promise, or when somebody interrupts."""
    clock = SystemClock()
    began, virtual_s, runs = clock.boottime(), 0.0, 0
    try:
        while True:  # until told to stop: that is what it is for
            report = simulate(seed + runs, profile=profile, minutes=minutes)
            if report.violations:
                print(f"\n{told(report, minutes)}")
                return 1
            runs, virtual_s = runs + 1, virtual_s + report.virtual_seconds
            real_s = clock.boottime() - began
            line = f"{runs} seeds, {virtual_s / 3600:.1f} virtual hours, {virtual_s / real_s:.0f} times real time"
            print(f"\r{line}, next seed {seed + runs}  ", end="", flush=True)
    except KeyboardInterrupt:
        print(f"\nstopped; every promise was kept in {runs} seeds")
        return 0


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
