"""The screen of `--watch`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static

from chronos.cli.rpr.live import words
from chronos.cli.rpr.live.difference import Difference, Line, Mark, difference
from chronos.cli.rpr.live.history import Past, Snapshot
from chronos.cli.rpr.live.ladder import longer, shorter
from chronos.cli.rpr.live.session import Session
from chronos.cli.rpr.live.text import safe_line, safe_lines
from chronos.repeater.showing import shown_s

LOOK_S = 0.1
"""How often the screen looks at what has happened: what comes faster is shown together."""

LIVE_AFTER_S = 1.0
"""A run that takes longer is shown while it is on; before, the screen would flicker between it and the one before."""


class Help(ModalScreen[None]):
    """The keys."""

    CSS = "Help { align: center middle; } #help { width: auto; max-width: 100%; height: auto; border: round $accent; }"

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(words.HELP, id="help", markup=False)

    def on_key(self, event: Key) -> None:
        if event.key not in ("up", "down", "pageup", "pagedown"):
            self.dismiss()


class Runs(ModalScreen[int | None]):
    """The list of runs, the latest first; returns the number of the one that was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,l,q", "leave", "Back")]

    def __init__(self, runs: tuple[Past, ...]) -> None:
        super().__init__()
        self._past = runs

    def compose(self) -> ComposeResult:
        yield DataTable(cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        table: DataTable[Text] = self.query_one(DataTable)
        table.add_column("RUNS")
        for run in reversed(self._past):
            table.add_row(Text(words.run_line(run)), key=str(run.number))
        table.focus()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Choose a run."""
        self.dismiss(int(event.row_key.value or 0))

    def action_leave(self) -> None:
        """Choose none."""
        self.dismiss(None)


class Live(App[None]):
    """Shows a session until it is over.

    Args:
        title: What is repeated, and how.
        is_seen: Whether the terminal is still there; the repetition ends, as interrupted, when it is not.
    """

    CSS = """
    #title { text-style: bold; }
    #title, #state, #durations, #run { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    #durations { color: $accent; }
    #run { text-style: underline; }
    #keys { height: auto; text-style: dim; }
    #run.bad { color: $text-error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+q", "stop", "Quit"),
        Binding("space", "pause", "Pause"),
        Binding("r", "run_now", "Run"),
        Binding("plus,equals_sign", "longer", "Longer"),
        Binding("minus", "shorter", "Shorter"),
        # These would else scroll what is read.
        Binding("left", "older", "Older", priority=True),
        Binding("right", "newer", "Newer", priority=True),
        Binding("end", "latest", "Latest", priority=True),
        Binding("l", "runs", "List"),
        Binding("d", "differences", "Differences"),
        Binding("question_mark,h", "help", "Help"),
        Binding("ctrl+c", "interrupt", "Interrupt", priority=True),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, session: Session, title: str, is_seen: Callable[[], bool] = lambda: True) -> None:
        # With colours of its own the library would only turn them into shades of grey.
        super().__init__(ansi_color=True if os.environ.get("NO_COLOR") is not None else None)
        self._session = session
        self._headline = safe_line(title.replace("\n", " "))
        self._latest = Snapshot()
        self._chosen: int | None = None
        self._is_seen = is_seen
        self._differs = True
        self._is_ending = False
        self._every = ""
        self._said = ""
        self._drawn: tuple[int, int | None, bool, bool] | None = None

    def compose(self) -> ComposeResult:
        yield Static(self._headline, id="title", markup=False)
        yield Static("", id="state", markup=False)
        yield Static("", id="durations", markup=False)
        yield Static("", id="run", markup=False)
        with VerticalScroll(id="body"):
            yield Static("", id="output", markup=False)
        yield Static(words.KEYS, id="keys", markup=False)

    def on_mount(self) -> None:
        self.theme = "ansi-dark" if self.no_color else "textual-dark"
        self._session.attach(asyncio.get_running_loop().call_soon_threadsafe)
        self.query_one("#body").focus()
        self.set_interval(LOOK_S, self.look)
        self.look()

    def on_resize(self) -> None:
        self._drawn = None
        self.look()

    def look(self) -> None:
        """Show what has happened; leave when it is over."""
        if not self.query("#state"):
            return  # the screen is being taken down
        if self._session.is_over:
            self.exit()
            return
        if not self._is_ending and not self._is_seen():
            self.action_interrupt()
            return
        self._latest = self._session.snapshot()
        self._show_state()
        live = self._is_live()
        drawn = (self._latest.revision, self._chosen, self._differs, live)
        if drawn != self._drawn or live:
            self._drawn = drawn
            self._tell("#durations", words.duration_line(self._latest, self.size.width))
            self._show_run(live=live)

    # Keys.

    def action_pause(self) -> None:
        """Pause, or go on."""
        if self._session.is_paused:
            self._session.resume()
        else:
            self._session.pause()
        self._say("")

    def action_run_now(self) -> None:
        """Start a run out of turn."""
        if not self._session.may_run_now:
            self._say("the rate is a promise: no run out of turn")
        elif self._latest.present is not None:
            self._say("a run is on already")
        else:
            self._session.run_now()

    def action_longer(self) -> None:
        """Take the next longer interval."""
        if self._session.every_s is not None:
            self._change(longer(self._session.every_s))
        else:
            self._say("this mode decides its interval itself")

    def action_shorter(self) -> None:
        """Take the next shorter interval."""
        if self._session.every_s is not None:
            self._change(shorter(self._session.every_s))
        else:
            self._say("this mode decides its interval itself")

    def _change(self, every_s: float) -> None:
        self._session.change(every_s)
        self._every = f"every {shown_s(every_s)}"
        self._say("")

    def action_older(self) -> None:
        """Show the run before the one that is shown."""
        self._choose(-1)

    def action_newer(self) -> None:
        """Show the run after it; after the last one, whatever comes."""
        self._choose(+1)

    def action_latest(self) -> None:
        """Follow the runs again."""
        self._chosen = None
        self.look()

    def action_runs(self) -> None:
        """Choose from the list of runs."""
        self.push_screen(Runs(self._latest.runs), self._chose)

    def action_differences(self) -> None:
        """Highlight what is different, or do not."""
        self._differs = not self._differs
        self.look()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Help())

    def action_stop(self) -> None:
        """End the repetition; the screen goes when it has ended."""
        self._is_ending = True
        self._session.quit()
        self._say("")

    def action_interrupt(self) -> None:
        """End it as Ctrl-C does anywhere."""
        self._is_ending = True
        self._session.interrupt()
        self._say("")

    def _chose(self, number: int | None) -> None:
        if number is not None:
            self._chosen = number
            self.look()

    def _choose(self, step: int) -> None:
        runs = self._latest.runs
        if not runs:
            return
        at = self._place() + step
        self._chosen = runs[max(at, 0)].number if at < len(runs) else None
        self.look()

    def _place(self) -> int:
        """Return which of the runs is shown; the first one when the one that was chosen is forgotten."""
        runs = self._latest.runs
        if self._chosen is None:
            return len(runs) if self._is_live() else len(runs) - 1
        return next((at for at, run in enumerate(runs) if run.number >= (self._chosen or 0)), len(runs) - 1)

    # What is shown.

    def _say(self, sentence: str) -> None:
        self._said = sentence
        self.look()

    def _is_live(self) -> bool:
        """Whether the run that is on is the one to show."""
        present = self._latest.present
        if self._chosen is not None or present is None:
            return False
        return not self._latest.runs or self._session.now_s() - present.since_s >= LIVE_AFTER_S

    def _show_state(self) -> None:
        session = self._session
        state = words.state_line(self._latest, session.wait_s(), is_paused=session.is_paused, is_ending=self._is_ending)
        self._tell("#state", " · ".join(filter(None, [state, self._every, self._said])))

    def _show_run(self, *, live: bool) -> None:
        runs, present = self._latest.runs, self._latest.present
        if live and present is not None:
            self._tell("#run", words.present_line(present, self._session.now_s()))
            self._show_output([Line(line) for line in safe_lines(present.output)])
        elif runs:
            self._show_past(self._place())

    def _show_past(self, at: int) -> None:
        run = self._latest.runs[at]
        found = self._difference_at(at) if self._differs else None
        parts = [words.run_line(run), *filter(None, [words.changes(found)])]
        if self._chosen is not None:
            parts.append("End: the latest")
        self._tell("#run", " · ".join(parts))
        self.query_one("#run").set_class(run.fate.counts and run.fate.value != "ok", "bad")
        self._show_output(found.lines if found else [Line(line) for line in safe_lines(run.output)])

    def _difference_at(self, at: int) -> Difference | None:
        runs = self._latest.runs
        if at == 0:
            return None
        return difference(safe_lines(runs[at - 1].output), safe_lines(runs[at].output))

    def _show_output(self, lines: list[Line]) -> None:
        self.query_one("#output", Static).update(painted(lines))

    def _tell(self, name: str, text: str) -> None:
        self.query_one(name, Static).update(text)


def painted(lines: list[Line]) -> Text:
    """Return lines with their marks in front, and reversed what is different: it needs no colours."""
    text = Text()
    for line in lines:
        text.append(f"{line.mark.value} ", "bold" if line.mark is not Mark.SAME else "")
        start = len(text)
        text.append(f"{line.text}\n")
        for begin, end in line.spans:
            text.stylize("reverse", start + begin, start + end)
    return text
