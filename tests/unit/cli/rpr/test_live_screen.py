"""The screen of `--watch`, its keys pressed: what it shows, what it asks of the engine, and how it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from textual.widgets import DataTable, Static

from chronos.cli.rpr.live.history import Past, Present, Snapshot
from chronos.cli.rpr.live.screen import Help, Live, Runs, painted
from chronos.cli.rpr.live.text import safe_lines
from chronos.repeater.stops import Fate

NOON = 1_800_014_400.0


def a_past(number: int, output: str, *, fate: Fate = Fate.OK) -> Past:
    return Past(
        number, NOON + number, number / 1000, fate, int(fate is not Fate.OK), "", output.encode(), len(output.encode())
    )


@dataclass
class FakeSession:
    """A session without an engine: it notes what it is asked for.

    Attributes:
        at_s: What its clock says.
    """

    shown: Snapshot
    every_s: float | None = 2.0
    may_run_now: bool = True
    is_paused: bool = False
    is_over: bool = False
    at_s: float = 100.0
    asked: list[str | float] = field(default_factory=list)

    def snapshot(self) -> Snapshot:
        return self.shown

    def now_s(self) -> float:
        return self.at_s

    def attach(self, soon: Callable[[Callable[[], None]], object]) -> None:
        self.asked.clear()

    def wait_s(self) -> float | None:
        return None if self.shown.present else 1.5

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def run_now(self) -> None:
        self.asked.append("run")

    def change(self, every_s: float) -> None:
        self.every_s = every_s
        self.asked.append(every_s)

    def quit(self) -> None:
        self.asked.append("quit")

    def interrupt(self) -> None:
        self.asked.append("interrupt")

    def comes(self, *runs: Past, present: Present | None = None) -> None:
        before = self.shown
        self.shown = Snapshot((*before.runs, *runs), present, before.ended + len(runs), 0, before.revision + 1)


def three_runs() -> FakeSession:
    session = FakeSession(Snapshot())
    session.comes(a_past(1, "load 1\nsame\n"), a_past(2, "load 2\nsame\n"), a_past(3, "load 3\nsame\n"))
    return session


def shown(app: Live, name: str) -> str:
    return str(app.query_one(name, Static).render())


def a_screen(session: FakeSession) -> Live:
    return Live(session, "every 2s: work")


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [(80, 24), (40, 12), (20, 6), (200, 60)])
async def test_the_last_run_its_changes_and_what_comes_next_are_on_any_screen(size: tuple[int, int]) -> None:
    app = a_screen(three_runs())
    async with app.run_test(size=size):
        assert shown(app, "#title") == "every 2s: work"
        assert shown(app, "#state") == "next in 1.5s · 3 runs"
        assert shown(app, "#durations").endswith("▃▆█ 1ms to 3ms"[-size[0] :])
        assert "ok · 1 of 2 lines changed" in shown(app, "#run")
        assert shown(app, "#output") == "~ load 3\n  same\n"
        assert app.query_one("#body").size.height >= 1


@pytest.mark.asyncio
async def test_older_runs_are_looked_at_while_new_ones_come() -> None:
    session = three_runs()
    app = a_screen(session)
    async with app.run_test() as pilot:
        await pilot.press("left")
        assert "Run 2" in shown(app, "#run")
        session.comes(a_past(4, "load 4\n"))
        app.look()
        assert "load 2" in shown(app, "#output")
        assert "4 runs" in shown(app, "#state")
        await pilot.press("left", "left", "left")
        assert shown(app, "#output") == "  load 1\n  same\n", "the first one is compared with nothing"
        await pilot.press("right")
        assert "Run 2" in shown(app, "#run")
        await pilot.press("end")
        assert "load 4" in shown(app, "#output")
        session.comes(a_past(5, "load 5\n"))
        app.look()
        assert "load 5" in shown(app, "#output")


@pytest.mark.asyncio
async def test_after_the_last_run_the_next_one_is_followed_again() -> None:
    session = three_runs()
    app = a_screen(session)
    async with app.run_test() as pilot:
        await pilot.press("left", "right", "right")
        session.comes(a_past(4, "load 4\n"))
        app.look()
        assert "load 4" in shown(app, "#output")


@pytest.mark.asyncio
async def test_a_run_that_was_forgotten_gives_way_to_the_oldest_there_is() -> None:
    session = three_runs()
    app = a_screen(session)
    async with app.run_test() as pilot:
        await pilot.press("left", "left")
        session.shown = session.shown._replace(runs=session.shown.runs[1:], revision=99)
        app.look()
        assert "Run 2" in shown(app, "#run")


@pytest.mark.asyncio
async def test_a_run_is_chosen_from_the_list() -> None:
    app = a_screen(three_runs())
    async with app.run_test() as pilot:
        await pilot.press("l")
        assert isinstance(app.screen, Runs)
        table = app.screen.query_one(DataTable)
        assert [str(table.get_row_at(number)[0]).split(" · ")[0] for number in range(3)] == ["Run 3", "Run 2", "Run 1"]
        app.look()
        await pilot.press("down", "enter")
        await pilot.pause()
        assert "Run 2" in shown(app, "#run")
        await pilot.press("l", "escape")
        assert "Run 2" in shown(app, "#run")


@pytest.mark.asyncio
async def test_differences_are_left_out_on_demand() -> None:
    app = a_screen(three_runs())
    async with app.run_test() as pilot:
        await pilot.press("d")
        assert shown(app, "#output") == "  load 3\n  same\n"
        assert "changed" not in shown(app, "#run")


@pytest.mark.asyncio
async def test_what_is_different_stands_out_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = a_screen(three_runs())
    async with app.run_test():
        assert app.theme == "ansi-dark"
        drawn = app.query_one("#output", Static).content
        assert [span.style for span in getattr(drawn, "spans", [])] == ["bold", "reverse"]
        assert app.native_ansi_color, "what is drawn has no colours of the library's"


@pytest.mark.asyncio
async def test_a_run_that_takes_long_is_shown_while_it_is_on_and_a_short_one_when_it_has_ended() -> None:
    session = three_runs()
    session.comes(present=Present(4, 99.5, b"so far\n"))
    app = a_screen(session)
    async with app.run_test() as pilot:
        assert "run 4 is on" in shown(app, "#state")
        assert "load 3" in shown(app, "#output")
        session.at_s = 101.0
        app.look()
        assert shown(app, "#run") == "Run 4 · on for 1.5s"
        assert shown(app, "#output") == "  so far\n"
        await pilot.press("left")
        assert "load 3" in shown(app, "#output")


@pytest.mark.asyncio
async def test_the_first_run_is_shown_at_once() -> None:
    session = FakeSession(Snapshot())
    app = a_screen(session)
    async with app.run_test() as pilot:
        await pilot.press("left", "right", "l", "escape")
        session.comes(present=Present(1, 100.0, b"hello\n"))
        app.look()
        assert shown(app, "#output") == "  hello\n"


@pytest.mark.asyncio
async def test_space_pauses_and_goes_on() -> None:
    session = three_runs()
    app = a_screen(session)
    async with app.run_test() as pilot:
        await pilot.press("space")
        assert session.is_paused
        assert shown(app, "#state").startswith("PAUSED")
        await pilot.press("space")
        assert not session.is_paused
        assert shown(app, "#state").startswith("next in")


@pytest.mark.asyncio
async def test_a_run_is_started_out_of_turn_unless_one_is_on_or_the_rate_forbids_it() -> None:
    session = three_runs()
    app = a_screen(session)
    async with app.run_test() as pilot:
        await pilot.press("r")
        session.comes(present=Present(4, 100.0, b""))
        app.look()
        await pilot.press("r")
        assert "a run is on already" in shown(app, "#state")
        session.may_run_now = False
        await pilot.press("r")
        assert "promise" in shown(app, "#state")
    assert session.asked == ["run"]


@pytest.mark.asyncio
async def test_the_interval_is_changed_where_there_is_one() -> None:
    session = three_runs()
    app = a_screen(session)
    async with app.run_test() as pilot:
        await pilot.press("plus", "plus", "minus")
        assert session.asked == [5.0, 10.0, 5.0]
        assert "every 5s" in shown(app, "#state")
        session.every_s = None
        await pilot.press("minus")
        assert "decides its interval itself" in shown(app, "#state")
    assert session.asked == [5.0, 10.0, 5.0]


@pytest.mark.asyncio
@pytest.mark.parametrize(("key", "asked"), [("q", "quit"), ("ctrl+c", "interrupt"), ("ctrl+q", "quit")])
async def test_it_leaves_when_the_repetition_has_ended_and_not_before(key: str, asked: str) -> None:
    session = three_runs()
    app = a_screen(session)
    async with app.run_test() as pilot:
        await pilot.press(key)
        assert session.asked == [asked]
        assert shown(app, "#state").startswith("ENDING")
        assert app.is_running
        session.is_over = True
        app.look()
    assert app.return_code == 0


@pytest.mark.asyncio
async def test_it_ends_when_nobody_can_see_it_any_more() -> None:
    session, seen = three_runs(), [True]
    app = Live(session, "work", lambda: seen[0])
    async with app.run_test():
        app.look()
        assert session.asked == []
        seen[0] = False
        app.look()
        app.look()
        assert session.asked == ["interrupt"]


@pytest.mark.asyncio
async def test_help_names_the_keys_and_any_key_but_those_that_scroll_closes_it() -> None:
    app = a_screen(three_runs())
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        assert "pause, or go on" in str(app.screen.query_one("#help", Static).render())
        await pilot.press("down")
        assert isinstance(app.screen, Help)
        app.look()
        await pilot.press("x")
        assert not isinstance(app.screen, Help)


@pytest.mark.asyncio
async def test_what_a_command_prints_is_text_and_nothing_else() -> None:
    session = FakeSession(Snapshot())
    session.comes(a_past(1, "[bold]not markup[/] \x1b[2J\x1b[31m[link=x]y\x07\n"))
    app = a_screen(session)
    async with app.run_test():
        assert shown(app, "#output") == "  [bold]not markup[/] [link=x]y\\x07\n"


def test_a_screen_of_the_longest_output_there_is_can_be_painted() -> None:
    lines = safe_lines(b"\n" * 65_536)
    from chronos.cli.rpr.live.difference import difference

    assert len(painted(difference([], lines).lines).split("\n")) == len(lines)
