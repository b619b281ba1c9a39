"""How many of the runs that an interval asks for `rpr` makes, how fast it can, and what ten thousand runs leave behind.

    python bench/rpr_pace.py [--json] [--every MS] [--seconds S] [--fastest MS] [--runs N]

The figure is by how many percent the number of runs is off at `--every` (2,000 in 10 s at 5 ms). At `--fastest`, which
a machine may not keep up with, the rate that is reached is told, the most runs in any ten intervals (a burst would be
more than eleven), and the drift. A shell loop, `watch` and `retry`, where they are installed, do the same beside it.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Sequence

from bench.report import Report, cpu_s, parser, percentiles, tell
from bench.rpr import by_loop, by_rpr, by_watch, drift_ms, lateness_ms, told

BUDGET_PERCENT = 1.0
LEAVINGS = """
import json, os, re, sys
from chronos.cli.rpr import run

def state():
    status = open('/proc/self/status').read()
    try:
        children = os.waitpid(-1, os.WNOHANG) and 1
    except ChildProcessError:
        children = 0
    found = re.search(r'VmRSS:\\s+(\\d+)', status)
    return {'rss_kib': int(found[1]), 'descriptors': len(os.listdir('/proc/self/fd')), 'children': children}

def runs(count):
    assert run(['interval', '--every', '1ms', '--times', str(count), '--quiet', '--', 'true']) == 0

total = int(sys.argv[1])
runs(max(1, total // 10))
before = state()
runs(total - total // 10)
print(json.dumps({'runs': total, 'after_a_tenth': before, 'at_the_end': state()}))
"""


def main() -> int:
    """Measure all of it and return the exit code."""
    line = parser(__doc__)
    line.add_argument("--every", type=int, default=5, help="milliseconds")
    line.add_argument("--seconds", type=float, default=10.0)
    line.add_argument("--fastest", type=int, default=1, help="milliseconds")
    line.add_argument("--runs", type=int, default=10_000, help="after which memory and descriptors are looked at")
    chosen = line.parse_args()
    began = cpu_s(resource.RUSAGE_CHILDREN)
    starts_ms = by_rpr(chosen.every, chosen.seconds)
    used_s = cpu_s(resource.RUSAGE_CHILDREN) - began
    wanted = round(chosen.seconds * 1000 / chosen.every)
    details = {
        "runs": len(starts_ms),
        "runs_wanted": wanted,
        "drift_ms_per_1000": round(drift_ms(lateness_ms(starts_ms, chosen.every)), 3),
        "fastest": fastest(by_rpr(chosen.fastest, chosen.seconds), chosen.fastest),
        "shell_loop": told(by_loop(chosen.every, chosen.seconds), chosen.every),
        "watch": told(by_watch(chosen.seconds), 100),
        "retry": told(by_retry(chosen.every, wanted), chosen.every),
        "left_behind": left_behind(chosen.runs),
    }
    report = Report(
        bench="rpr_pace",
        figure=round(abs(len(starts_ms) - wanted) * 100 / wanted, 2),
        unit="% off",
        percentiles=percentiles(lateness_ms(starts_ms, chosen.every)),
        cpu_s={"rpr and its commands": round(used_s, 2)},
        settings={
            "every_ms": chosen.every,
            "seconds": chosen.seconds,
            "fastest_ms": chosen.fastest,
            "runs": chosen.runs,
        },
        details=details,
        budget=BUDGET_PERCENT,
    )
    if not chosen.json:
        print("\n".join(f"{name:<18} {value}" for name, value in details.items()))
    return tell(report, chosen)


def fastest(starts_ms: Sequence[float], every_ms: int) -> dict[str, float]:
    """Return the rate that is reached, and whether it is even."""
    if len(starts_ms) < 2:
        return {}
    span_ms = starts_ms[-1] - starts_ms[0]
    return {
        "wanted_ms": every_ms,
        "runs": len(starts_ms),
        "runs_per_s": round((len(starts_ms) - 1) * 1000 / span_ms, 1),
        "most_in_ten_intervals": most_within(starts_ms, 10 * every_ms),
        "drift_ms_per_1000": round(drift_ms(lateness_ms(starts_ms, every_ms)), 3),
    }


def most_within(starts_ms: Sequence[float], window_ms: float) -> int:
    """Return the most starts in any window of that length."""
    return max(bisect_right(starts_ms, start + window_ms) - at for at, start in enumerate(starts_ms))


def by_retry(every_ms: int, times: int) -> list[float]:
    """Return when `retry` started its tries of a command that always fails; none where it is not installed."""
    retry = shutil.which("retry")
    if retry is None:
        return []
    command = [retry, f"--times={times}", f"--delay={every_ms / 1000}", "--", "sh", "-c", "date +%s%N >&2; exit 1"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    return [int(each) / 1e6 for each in done.stderr.split() if each.isdigit()]


def left_behind(runs: int) -> dict[str, object]:
    """Return memory, descriptors and children after a tenth of the runs and after all; nothing without /proc."""
    if sys.platform != "linux":
        return {}
    done = subprocess.run([sys.executable, "-c", LEAVINGS, str(runs)], stdout=subprocess.PIPE, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main())
