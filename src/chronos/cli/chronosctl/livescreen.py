"""The live screen of `chronosctl top`. Imported by nothing else: the library behind it takes its time to load."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static
from textual.worker import Worker, WorkerState

from chronos.cli.chronosctl.stats import SORTS, failing, failing_row, head_lines, load_lines, number_lines
from chronos.errors import ChronosError, Unavailable

Document = dict[str, Any]
Fetch = Callable[[], Document]

HELP = """\
Rate      executions that ended, a second, over the last ten seconds; the bars are the last minute
Late      from the instant a start was due to its first byte, over the last minute
Now       running: not yet answered · waiting: for the right to start · held: for their moment, or for
          capacity · retrying: for their next attempt · ongoing: answered 202, result to come · log:
          commands that wait for their entry
Next      instants that come due in each of the next 60 seconds, before jitter
Failing   jobs whose last run failed since the server's start

s sort the failing jobs   r ask now   p pause   q quit   any key closes this page"""


class Help(ModalScreen[None]):
    """What the lines mean, and the keys."""

    CSS = "Help { align: center middle; } #help { width: auto; max-width: 100%; height: auto; border: round $accent; }"

    def compose(self) -> ComposeResult:
        yield Static(HELP, id="help", markup=False)

    def on_key(self) -> None:
        self.dismiss()


class Top(App[ChronosError | None]):
    """Shows what `fetch` returns, and asks again every `interval_s`; one question is under way at a time.

    A server that does not answer is asked again for as long as the screen is open; it ends, and returns the error,
    when the server answers with one that asking again cannot help.

    Args:
        fetch: Blocks until the server has answered; called on a thread.
    """

    TITLE = "chronosctl top"
    CSS = """
    #trouble { color: $text-error; height: auto; }
    #head, #numbers, #load, #order { height: auto; }
    #load { color: $accent; }
    .stale { text-opacity: 50%; }
    DataTable { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("s", "sort", "Sort"),
        Binding("r", "ask", "Ask now"),
        Binding("p", "pause", "Pause"),
        Binding("question_mark,h", "help", "Help", key_display="?"),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, fetch: Fetch, *, interval_s: float, server: str, sort: str = "last") -> None:
        # With colours of its own the library would only turn them into shades of grey.
        super().__init__(ansi_color=True if os.environ.get("NO_COLOR") is not None else None)
        self._fetch = fetch
        self._interval_s = interval_s
        self._server = server
        self.sort = sort
        self.paused = False
        self._asking: Worker[Document] | None = None
        self._failures = 0
        self._latest: Document | None = None

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static("", id="trouble", markup=False)
            yield Static(f"Asking {self._server} …", id="head", markup=False)
            yield Static("", id="numbers", markup=False)
            yield Static("", id="load", markup=False)
            yield Static("", id="order", markup=False)
            yield DataTable(id="failing", cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        self.theme = "ansi-dark" if self.no_color else "textual-dark"
        self._jobs.add_columns("FAILING JOB", "FAILURES", "LAST", "WHY")
        self.set_interval(self._interval_s, self._tick)
        self.action_ask()

    def on_resize(self) -> None:
        self._show()

    @property
    def _jobs(self) -> DataTable[Text]:
        return self.query_one("#failing", DataTable)

    # Keys.

    def action_sort(self) -> None:
        """Sort the failing jobs by the next of what they can be sorted by."""
        names = list(SORTS)
        self.sort = names[(names.index(self.sort) + 1) % len(names)]
        self._show()

    def action_pause(self) -> None:
        """Stop asking, or go on."""
        self.paused = not self.paused
        self._tell_trouble("Paused; press p to go on, r to ask once." if self.paused else "")

    def action_help(self) -> None:
        """Show what the lines mean."""
        self.push_screen(Help())

    def action_ask(self) -> None:
        """Ask the server, unless it is being asked."""
        if self._asking is None or self._asking.is_finished:
            self._asking = self.run_worker(self._fetch, thread=True, exit_on_error=False)

    def _tick(self) -> None:
        if not self.paused:
            self.action_ask()

    # Answers.

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Show what came back, or say that nothing did."""
        if event.worker is not self._asking:
            return
        if event.state is WorkerState.SUCCESS:
            self._failures = 0
            self._latest = event.worker.result
            self._tell_trouble("Paused; press p to go on, r to ask once." if self.paused else "")
            self._show()
        elif event.state is WorkerState.ERROR:
            self._failed(event.worker.error)

    def _failed(self, error: BaseException | None) -> None:
        if isinstance(error, Unavailable):
            self._failures += 1
            times = "once" if self._failures == 1 else f"{self._failures} times"
            again = f"asked {times}, asking again every {self._interval_s:g} s"
            self._tell_trouble(f"{self._server} does not answer ({again}): {error}")
        elif isinstance(error, ChronosError):
            self.exit(error)
        elif error is not None:
            raise error

    def _tell_trouble(self, sentence: str) -> None:
        self.query_one("#trouble", Static).update(sentence)
        stale = bool(self._failures)
        for name in ("#head", "#numbers", "#load", "#order", "#failing"):
            self.query_one(name).set_class(stale, "stale")

    def _show(self) -> None:
        plain = self._latest
        if plain is None:
            return
        width = max(40, self.size.width - 2)
        self.query_one("#head", Static).update("\n".join(head_lines(plain, width)))
        self.query_one("#numbers", Static).update("\n".join(number_lines(plain, width)))
        self.query_one("#load", Static).update("\n".join(load_lines(plain, width)))
        jobs = self._jobs
        jobs.clear()
        for job in failing(plain, self.sort):
            jobs.add_row(*(Text(cell) for cell in failing_row(job)))
        jobs.display = bool(plain["failing"])
        order = f"{plain['failing_total']:,} failing jobs, by {self.sort}" if plain["failing"] else "No job fails."
        self.query_one("#order", Static).update(order)
