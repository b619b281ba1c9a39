"""What is kept of a run that went wrong: its history, the nodes' own words, and a picture of it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from tests.architecture.source import ROOT
from tests.torture.witness import Arrival, seconds

if TYPE_CHECKING:
    from tests.cluster_faults.evidence import Fault
    from tests.cluster_faults.lab import Laboratory

KEPT = ROOT / ".cache" / "cluster_faults"
WIDTH, LANE, LEFT, LATE_PX, LATE_MAX_S = 1_600, 26, 90, 260, 12.0
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")


def keep(lab: Laboratory, name: str, why: BaseException) -> Path:
    """Write all of it into a folder of that name, in place of what an earlier run has left there; return it."""
    folder = KEPT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arrivals = lab.watched().arrivals if lab.witness is not None else []
    events = [*lab.history, *({"event": "arrived", **vars(each)} for each in arrivals)]
    events.sort(key=lambda event: float(str(event["at"])))
    with (folder / "history.jsonl").open("w") as file:
        file.writelines(json.dumps(event, default=str) + "\n" for event in events)
    (folder / "why.txt").write_text(f"{type(why).__name__}: {why}\n")
    (folder / "timeline.svg").write_text(picture(arrivals, lab.faults, list(lab.members)))
    for member in lab.members.values():
        (folder / f"{member.name}.log").write_text(member.output)
    for export in lab.folder.glob("*.ndjson"):
        shutil.copy(export, folder)
    return folder


def picture(arrivals: list[Arrival], faults: list[Fault], nodes: list[str]) -> str:
    """Return a picture: a lane for each node with what was done to it, and below how late each run came.

    A run's colour is its term's; runs that came again are rings.
    """
    times = [each.at for each in arrivals] + [at for fault in faults for at in (fault.began, fault.healed)]
    first, last = (min(times), max(times)) if times else (time.time(), time.time() + 1)
    scale = (WIDTH - LEFT - 10) / max(last - first, 1)
    height = LANE * (len(nodes) + 1) + LATE_PX + 40
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif">',
            '<rect width="100%" height="100%" fill="white"/>',
            *_lanes(nodes, faults, first, scale),
            *_runs(arrivals, first, scale, LANE * (len(nodes) + 1)),
            *_axis(first, last, scale, height),
            "</svg>\n",
        ]
    )


def _lanes(nodes: list[str], faults: list[Fault], first: float, scale: float) -> Iterator[str]:
    for lane, node in enumerate(nodes):
        top = lane * LANE + 4
        yield f'<text x="4" y="{top + 14}" font-size="13">{escape(node)}</text>'
        yield f'<line x1="{LEFT}" x2="{WIDTH}" y1="{top + LANE - 3}" y2="{top + LANE - 3}" stroke="#ddd"/>'
        for fault in faults:
            if node in fault.nodes:
                x, wide = LEFT + (fault.began - first) * scale, max(2.0, (fault.healed - fault.began) * scale)
                yield f'<rect x="{x:.1f}" y="{top}" width="{wide:.1f}" height="{LANE - 6}" fill="#fbb"/>'
                yield f'<text x="{x + 3:.1f}" y="{top + 14}" font-size="11">{escape(fault.what)}</text>'


def _runs(arrivals: list[Arrival], first: float, scale: float, top: int) -> Iterator[str]:
    yield f'<text x="4" y="{top + 14}" font-size="13">late, s</text>'
    for second in range(0, int(LATE_MAX_S) + 1, 2):
        y = top + 10 + second / LATE_MAX_S * LATE_PX
        yield f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>'
        yield f'<text x="{LEFT - 24}" y="{y + 4:.1f}" font-size="11">{second}</text>'
    seen: set[str] = set()
    for run in arrivals:
        late = min(max(run.at - seconds(run.due), 0.0), LATE_MAX_S)
        colour = COLOURS[int(run.token.split(".")[1]) % len(COLOURS)]
        inside = "none" if run.id in seen else colour
        x, y = LEFT + (run.at - first) * scale, top + 10 + late / LATE_MAX_S * LATE_PX
        seen.add(run.id)
        yield (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{inside}" stroke="{colour}">'
            f"<title>{escape(run.job)} {escape(run.id)} attempt {run.attempt} {escape(run.token)}</title></circle>"
        )


def _axis(first: float, last: float, scale: float, height: int) -> Iterator[str]:
    for second in range(0, int(last - first) + 1, 5):
        x = LEFT + second * scale
        yield f'<text x="{x:.1f}" y="{height - 8}" font-size="11">+{second} s</text>'
