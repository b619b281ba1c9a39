"""`chronosctl top`: what the server says is on the screen, once or live, and a server that goes away comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.cli.conftest import Ctl
from textual.widgets import DataTable, Static

from chronos.cli.chronosctl.livescreen import Help, Top
from chronos.cli.chronosctl.stats import bars, stats_text
from chronos.errors import ChronosError, Denied, Unavailable

Document = dict[str, Any]
NEVER_S = 3_600.0
"""Nothing is asked but with a key."""


def failing(name: str, failures: int, minute: int, reason: str = "HTTP 503") -> Document:
    at = f"2027-01-01T12:{minute:02}:00Z"
    return {"job_id": name, "job_name": name, "namespace": "default", "reason": reason, "failures": failures,
            "last_failure_at": at}  # fmt: skip


def a_document(**more: Any) -> Document:
    node = {
        "id": "n1", "version": "0.1.0", "ready": True, "reason": "", "is_leader": True, "applied_index": 12_345,
        "planned_to": "2027-01-01T12:00:01Z", "catching_up": False, "clock": "ok", "storage": "ok", "jobs": 1_000,
        "jobs_enabled": 990, "dead_letters": 0, "workers": [], "api_processes": 0, "notes": [],
    }  # fmt: skip
    jobs = [failing("billing", 7, 30), failing("archive", 2, 45, "timeout"), failing("zeta", 40, 10)]
    return {
        "time": "2027-01-01T12:00:00Z",
        "node": {**node, **more.pop("node", {})},
        "now": {"running": 12, "ongoing": 1, "held": 3, "waiting": 4, "retrying": 5, "log": 0},
        "rates": {"success": 1234.5, "failed": 0.1, "skipped": 0.0, "cancelled": 0.0},
        "rates_window_s": 10,
        "ended_by_second": [0] * 59 + [1_234],
        "start_lateness_ms": {"count": 70_000, "p50": 1.2, "p95": 3.0, "p99": 4.1, "max": 1_200.0},
        "failing": jobs,
        "failing_total": 3,
        "next_minute": {"from_time": "2027-01-01T12:00:01Z", "by_second": [5] * 60, "total": 300, "estimated": False},
        **more,
    }


def test_the_bars_of_a_chart_are_as_high_as_their_share_and_nothing_is_lost_in_merging() -> None:
    assert bars([0, 1, 4, 8], 4, 1) == [" ▁▄█"]
    assert bars([0, 1, 1000], 3, 2) == ["  █", " ▁█"]
    assert bars([1, 1, 2, 2], 2, 1) == ["▄█"]
    assert bars([], 10, 2) == ["", ""]
    assert [len(line) for line in bars([1] * 60, 20, 1)] == [20]


@pytest.mark.parametrize("width", [40, 60, 100])
def test_everything_is_there_on_any_terminal_and_no_line_is_wider_than_it(width: int) -> None:
    text = stats_text(a_document(), width=width)
    words = ("n1", "1,234.5/s success", "p99 4.1 ms", "max 1.2 s", "running 12", "retrying 5", "300 runs", "billing")
    assert [word for word in words if word not in text] == []
    assert max(map(len, text.partition("FAILING")[0].splitlines())) <= width


def test_what_is_wrong_stands_out() -> None:
    wrong = {
        "ready": False, "reason": "the disk is full", "storage": "full", "clock": "held", "catching_up": True,
        "notes": ["The disk is full: make room."], "workers": [{"is_up": True}, {"is_up": False}],
    }  # fmt: skip
    text = stats_text(a_document(node=wrong), width=100)
    for word in (
        "NOT READY: the disk is full",
        "storage FULL",
        "clock HELD",
        "CATCHING UP",
        "workers 1/2",
        "make room",
    ):
        assert word in text
    assert "No job fails." in stats_text(a_document(failing=[], failing_total=0))
    assert "and 4 more" in stats_text(a_document(failing_total=7))


def test_once_prints_what_the_server_says_for_people_and_for_programs(ctl: Ctl) -> None:
    ctl.server.on("GET", "/api/v1/stats", 200, a_document())
    printed = ctl("top", "--once", "--sort", "failures")
    assert printed.code == 0
    assert printed.out.index("zeta") < printed.out.index("billing") < printed.out.index("archive")
    assert ctl("top", "--once", "-o", "json").json == a_document()


def test_what_could_steer_a_terminal_is_shown_and_not_sent(ctl: Ctl) -> None:
    ctl.server.on("GET", "/api/v1/stats", 200, a_document(failing=[failing("a\x1b[2J", 1, 1, "b\x1b]0;x\x07")]))
    assert "\x1b" not in ctl("top", "--once").out


def test_without_a_terminal_it_says_how_to_print_it_once(ctl: Ctl) -> None:
    for line in (["top"], ["top", "-o", "json"]):
        refused = ctl(*line)
        assert refused.code == 2
        assert "--once" in refused.err
    assert ctl("top", "--interval", "1ms").code == 2
    assert ctl.server.requests == []


# The live screen.


class Answers:
    """A server that answers what it is told to, one question after the other."""

    def __init__(self, *answers: Document | ChronosError) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self) -> Document:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ChronosError):
            raise answer
        return answer


def a_top(fetch: Callable[[], Document]) -> Top:
    return Top(fetch, interval_s=NEVER_S, server="http://s.example")


def shown(app: Top, name: str) -> str:
    return str(app.query_one(name, Static).render())


def rows(app: Top) -> list[str]:
    table: DataTable[Any] = app.query_one("#failing", DataTable)
    return [str(table.get_row_at(number)[0]) for number in range(table.row_count)]


@pytest.mark.asyncio
async def test_the_screen_shows_what_the_server_says_and_sorts_by_key() -> None:
    app = a_top(Answers(a_document()))
    async with app.run_test(size=(100, 40)) as pilot:
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "1,234.5/s success" in shown(app, "#numbers")
        assert "300 runs" in shown(app, "#load")
        assert rows(app) == ["archive", "billing", "zeta"]
        await pilot.press("s")
        assert rows(app) == ["zeta", "billing", "archive"]
        await pilot.press("s")
        assert rows(app) == ["archive", "billing", "zeta"]
        await pilot.press("q")
    assert app.return_value is None


@pytest.mark.asyncio
async def test_a_server_that_restarts_is_asked_until_it_is_back_and_the_last_figures_stay() -> None:
    server = Answers(a_document(), Unavailable("connection refused"), a_document(time="2027-01-01T12:09:00Z"))
    app = a_top(server)
    async with app.run_test(size=(100, 40)) as pilot:
        await app.workers.wait_for_complete()
        await pilot.press("r")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "http://s.example does not answer" in shown(app, "#trouble")
        assert "connection refused" in shown(app, "#trouble")
        assert "12:00:00" in shown(app, "#head")
        assert app.query_one("#head").has_class("stale")
        await pilot.press("r")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert shown(app, "#trouble") == ""
        assert "12:09:00" in shown(app, "#head")
        assert not app.query_one("#head").has_class("stale")


@pytest.mark.asyncio
async def test_a_refusal_that_asking_again_cannot_help_ends_it() -> None:
    refusal = Denied("You may not.")
    app = a_top(Answers(refusal))
    async with app.run_test() as pilot:
        await pilot.pause()
    assert app.return_value is refusal


@pytest.mark.asyncio
async def test_one_question_is_under_way_at_a_time() -> None:
    answered, server = threading.Event(), Answers(a_document())

    def slow() -> Document:
        answered.wait(30)
        return server()

    app = a_top(slow)
    async with app.run_test() as pilot:
        for _ in range(5):
            await pilot.press("r")
        answered.set()
        await app.workers.wait_for_complete()
        assert server.asked == 1


@pytest.mark.asyncio
async def test_help_explains_the_lines_and_any_key_closes_it_and_a_pause_asks_nothing() -> None:
    server = Answers(a_document())
    app = a_top(server)
    async with app.run_test(size=(110, 40)) as pilot:
        await app.workers.wait_for_complete()
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        assert "before jitter" in str(app.screen.query_one("#help", Static).render())
        await pilot.press("x")
        assert not isinstance(app.screen, Help)
        await pilot.press("p")
        app._tick()
        assert "Paused" in shown(app, "#trouble")
        assert server.asked == 1
        await pilot.press("p")
        app._tick()
        await app.workers.wait_for_complete()
        assert server.asked == 2


@pytest.mark.asyncio
async def test_it_is_there_without_colours_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = a_top(Answers(a_document()))
    async with app.run_test(size=(100, 40)) as pilot:
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert app.native_ansi_color
        assert "1,234.5/s success" in shown(app, "#numbers")
