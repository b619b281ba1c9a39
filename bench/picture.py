"""How a cluster that is watched is shown: a table that changes on a terminal, a line a second elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

STYLES = {"leader": "bold green", "follower": "green", "starting": "yellow", "dead": "bold red"}
LINES_KEPT = 8


class Picture(NamedTuple):
    """A cluster at a moment.

    Attributes:
        seconds: Since the load began.
        leader: Empty while nobody leads.
        a_second: What arrived in the last second, and how late: in the middle, and at most.
        nodes: Name → `leader`, `follower`, `starting` or `dead`.
        gap_s: From the kill to the next leader's first arrival; None before that.
        said: What happened last.
    """

    seconds: float
    leader: str
    term: int
    arrived: int
    a_second: int
    late_ms: float
    latest_ms: float
    nodes: dict[str, str]
    gap_s: float | None
    said: str


def in_words(now: Picture) -> str:
    """Return a picture on one line."""
    leads = f"{now.leader} leads" if now.leader else "nobody leads"
    nodes = " ".join(f"{name} {state}" for name, state in now.nodes.items())
    late = f"late {now.late_ms:.0f} ms, at most {now.latest_ms:.0f} ms" if now.a_second else "-"
    gap = "" if now.gap_s is None else f" | gap {now.gap_s:.2f} s"
    return f"{now.seconds:5.1f} s | {leads}, term {now.term} | {now.a_second}/s | {late} | {nodes}{gap}"


def table_of(now: Picture) -> Table:
    """Return a picture as a table."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    nodes = Text("   ").join(Text(f"{name} {state}", STYLES.get(state, "")) for name, state in now.nodes.items())
    rows: list[tuple[str, str | Text]] = [
        ("seconds", f"{now.seconds:.1f}"),
        ("leader", Text(now.leader or "nobody", STYLES["leader" if now.leader else "dead"])),
        ("term", str(now.term)),
        ("nodes", nodes),
        ("arrivals", f"{now.a_second} a second, {now.arrived} in all"),
        ("lateness", f"{now.late_ms:.0f} ms in the middle, {now.latest_ms:.0f} ms at most, of the last second"),
        ("gap", "-" if now.gap_s is None else f"{now.gap_s:.2f} s from kill -9 to the next leader's work"),
    ]
    for name, text in rows:
        table.add_row(name, text)
    return table


class Screen:
    """Where it is shown; `with`.

    Args:
        live: On a terminal, where what was shown before may be overwritten.
    """

    def __init__(self, *, live: bool, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, auto_refresh=False) if live else None
        self._said: list[str] = []
        self._second = -1

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Say what happens."""
        if self._said[-1:] == [text]:
            return
        self._said = [*self._said, text][-LINES_KEPT:]
        self._console.print(text, markup=False)

    def show(self, now: Picture) -> None:
        """Show a picture; a line for each second where it cannot be overwritten."""
        if now.said:
            self.say(now.said)
        if self._live is not None:
            self._live.update(Group(Text(), table_of(now)), refresh=True)
        elif int(now.seconds) != self._second:
            self._second = int(now.seconds)
            self._console.print(in_words(now), markup=False)
