"""Run the whole server on one seed, and judge it.

    python -m chronos.testing.simulate --seed 7                     what came of it
    python -m chronos.testing.simulate --seed 7 --nodes 3           … of a cluster of three
    python -m chronos.testing.simulate --seed 7 --transcript        … and everything that happened, line by line
    python -m chronos.testing.simulate --seed 1 --forever           seed after seed, until something breaks or ^C

Exit codes: 0 every promise was kept, 1 one was broken, 2 the command is wrong.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from chronos.testing.simulation.cluster.kept import write_history
from chronos.testing.simulation.cluster.run import simulate_cluster
from chronos.testing.simulation.profile import CLUSTER_PROFILES, PROFILES, Profile
from chronos.testing.simulation.report import Report
from chronos.testing.simulation.run import simulate
from chronos.testing.simulation.trace import Tell
from chronos.timing.clock import SystemClock

SHOWN_MAX = 50


def main(arguments: list[str] | None = None) -> int:
    """Run as told, and return the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    profiles = PROFILES if given.nodes == 1 else CLUSTER_PROFILES
    if given.profile not in profiles:
        parser.error(f"--profile: with --nodes {given.nodes} there are {', '.join(sorted(profiles))}.")
    if not 0 < given.minutes <= 7 * 24 * 60:
        parser.error("--minutes: more than none, and no more than a week.")
    profile = profiles[given.profile]
    if given.forever:
        return _for_ever(given.seed, profile, given.minutes, given.nodes, given.keep)
    tell = None
    if given.transcript:
        tell = _print_to_stderr if given.json else print
    report = judged(given.seed, profile, given.minutes, given.nodes, tell=tell, keep=given.keep)
    if given.json:
        print(msgspec.json.encode(report).decode())
    else:
        print(told(report, given.minutes))
    return 1 if report.violations else 0


def judged(
    seed: int, profile: Profile, minutes: float, nodes: int, *, tell: Tell | None = None, keep: Path | None = None
) -> Report:
    """Run a seed of one node or of several, and judge it.

    Args:
        keep: A folder; when a promise was broken, what happened is kept there. See `kept.keep`.
    """
    if nodes == 1:
        return simulate(seed, profile=profile, minutes=minutes, tell=tell)
    world, report = simulate_cluster(seed, profile=profile, minutes=minutes, nodes=nodes, tell=tell)
    if report.violations and keep is not None:
        write_history(world, report, keep, command_of(report, minutes))
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chronos.testing.simulate",
        description="Run the whole server on one seed: virtual time, fake targets, a fake disk, faults, clients.",
    )
    parser.add_argument("--seed", type=int, default=1, help="decides everything that happens")
    parser.add_argument("--nodes", type=int, choices=(1, 3, 5), default=1, help="how many nodes")
    parser.add_argument("--minutes", type=float, default=10.0, help="virtual minutes")
    parser.add_argument(
        "--profile", choices=sorted({*PROFILES, *CLUSTER_PROFILES}), default="standard", help="what kind of run"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, as the last line")
    parser.add_argument("--transcript", action="store_true", help="tell everything that happens")
    parser.add_argument("--keep", type=Path, help="where to keep history and timeline of a run that broke a promise")
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


def _for_ever(seed: int, profile: Profile, minutes: float, nodes: int, keep: Path | None) -> int:
    """Run seed after seed; return when one breaks a promise, or when somebody interrupts."""
    clock = SystemClock()
    began, virtual_s, runs = clock.boottime(), 0.0, 0
    try:
        while True:  # until told to stop: that is what it is for
            report = judged(seed + runs, profile, minutes, nodes, keep=keep)
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
