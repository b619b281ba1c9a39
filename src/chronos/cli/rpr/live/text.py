"""What a command has printed, as lines that cannot steer the terminal. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

LINES_MAX = 2_000
"""So many lines of a run are shown; of more, the beginning and the end."""

STEPS = "▁▂▃▄▅▆▇█"
TAB = 8

# Colours and the like (CSI … letter), titles and links (OSC … BEL or ST), and the short ones, such as resets.
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|\x1b[ -/]{0,4}[0-Zc-~]")


def safe_lines(output: bytes) -> list[str]:
    """Return the lines of an output, at most `LINES_MAX`.

    What colours text or moves the cursor is left out, a line that was overwritten from its start (as progress bars do)
    is what was written last, and every other control character is an escape. Bytes that are no UTF-8 are `\ufffd`.
    """
    lines = output.decode("utf-8", "replace").split("\n")
    if not lines[-1]:
        lines.pop()
    if len(lines) > LINES_MAX:
        half = LINES_MAX // 2
        left_out = f"… {len(lines) - 2 * half:,} lines are left out …"
        lines = [*lines[:half], left_out, *lines[-half:]]
    return [safe_line(line) for line in lines]


def safe_line(line: str) -> str:
    """Return a line as it may be shown."""
    overwritten = _SEQUENCE.sub("", line).rstrip("\r").rpartition("\r")[2]
    return "".join(c if c.isprintable() else _escaped(c) for c in overwritten.expandtabs(TAB))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def sparkline(values: Sequence[float], width: int) -> str:
    """Return the last `width` values as bars, the highest of them full; none of them is lower than the lowest bar."""
    shown = values[-width:] if width > 0 else []
    top = max(shown, default=0.0)
    if top <= 0:
        return STEPS[0] * len(shown)
    return "".join(STEPS[min(len(STEPS) - 1, int(value / top * len(STEPS)))] for value in shown)
