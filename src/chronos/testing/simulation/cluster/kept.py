"""What is kept of a run that has broken a promise: its history, line by line, and a timeline to look at."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from chronos.testing.simulation.cluster.world import ClusterWorld
    from chronos.testing.simulation.evidence import Evidence
    from chronos.testing.simulation.report import Report

_LEFT, _WIDTH, _ROW = 90, 1_400, 34


def write_history(world: ClusterWorld, report: Report, folder: Path, command: str) -> Path:
    """Write `seed-N.jsonl` (everything that was seen) and `seed-N.svg` (a timeline) into a folder; return the first.

    Args:
        command: Replays the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"nodes-{report.nodes}-{report.profile}-seed-{report.seed}"
    lines = [{"replay": command, "violations": report.violations}, *_events(world.evidence), *_log(world.evidence)]
    path = folder / f"{name}.jsonl"
    path.write_bytes(b"\n".join(msgspec.json.encode(line, enc_hook=str) for line in lines) + b"\n")
    (folder / f"{name}.svg").write_text(timeline(world.evidence, report, command))
    return path


def _events(evidence: Evidence) -> list[dict[str, object]]:
    kinds: dict[str, Sequence[object]] = {
        "fault": evidence.troubles,
        "life": evidence.lives,
        "arrival": evidence.arrivals,
        "operation": evidence.operations,
        "word": evidence.words,
    }
    return [{"what": kind, "seen": one} for kind, seen in kinds.items() for one in seen]


def _log(evidence: Evidence) -> list[dict[str, object]]:
    return [
        {
            "what": "entry",
            "index": entry.index,
            "time_us": entry.time_us,
            "at": entry.at,
            "events": [
                [event.type.value, event.by, str(getattr(event.execution, "id", ""))]
                for change in entry.changes
                for event in change.events
            ],
        }
        for entry in evidence.entries
    ]


def timeline(evidence: Evidence, report: Report, command: str) -> str:
    """Return a drawing: a row for each node's lives and what it sent, faults behind them, broken promises in red."""
    seconds = max(evidence.seconds, 1.0)
    nodes = sorted({life.node for life in evidence.lives})
    bottom = 40 + _ROW * (len(nodes) + 1)

    def x(at: float) -> float:
        return round(_LEFT + _WIDTH * max(0.0, min(at, seconds)) / seconds, 1)

    parts: list[str] = []
    for trouble in evidence.troubles:
        ends = trouble.healed if trouble.healed >= 0 else seconds
        width = max(1.0, x(ends) - x(trouble.began))
        title = escape(f"{trouble.kind} {trouble.facts} {trouble.began:.3f} to {ends:.3f}")
        parts.append(
            f'<rect x="{x(trouble.began)}" y="30" width="{width}" height="{bottom - 30}" fill="#f5c542" '
            f'opacity="0.35"><title>{title}</title></rect>'
            f'<text x="{x(trouble.began)}" y="26" font-size="9">{escape(trouble.kind)}</text>'
        )
    for row, node in enumerate(nodes):
        y = 40 + _ROW * row
        parts.append(f'<text x="4" y="{y + 12}" font-size="12">node {node}</text>')
        for life in (one for one in evidence.lives if one.node == node):
            ends = life.ended if life.ended >= 0 else seconds
            title = escape(f"life {life.number} {life.incarnation} {life.ended_by}")
            parts.append(
                f'<rect x="{x(life.began)}" y="{y}" width="{max(1.0, x(ends) - x(life.began))}" height="8" '
                f'fill="#3b7dd8"><title>{title}</title></rect>'
            )
        for arrival in (one for one in evidence.arrivals if one.node == node):
            title = escape(f"{arrival.job_name} {arrival.execution_id} attempt {arrival.attempt} {arrival.answer}")
            parts.append(
                f'<rect x="{x(arrival.at)}" y="{y + 12}" width="1.5" height="12" fill="#2c8a3d">'
                f"<title>{title}</title></rect>"
            )
    for violation in report.violations:
        if violation.at is not None:
            title = escape(f"{violation.rule}: {violation.what}")
            parts.append(
                f'<rect x="{x(violation.at)}" y="30" width="2" height="{bottom - 30}" fill="#d02020">'
                f"<title>{title}</title></rect>"
            )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 20}" height="{bottom + 30}" '
        f'font-family="sans-serif"><text x="4" y="12" font-size="12">{escape(command)}</text>{"".join(parts)}'
        f'<text x="{_LEFT}" y="{bottom + 16}" font-size="10">0 s</text>'
        f'<text x="{_LEFT + _WIDTH - 30}" y="{bottom + 16}" font-size="10">{seconds:.0f} s</text></svg>\n'
    )
