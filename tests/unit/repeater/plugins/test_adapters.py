"""What a plug-in answers is checked before the engine sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.repeater.plugins.written import scheduler, source

from chronos.repeater.capture import Capture
from chronos.repeater.engine import Report
from chronos.repeater.machine import CannotStart
from chronos.repeater.modes.bounds import WAIT_S_MAX
from chronos.repeater.plugins.adapters import TEXT_MAX, PluginMachine, PluginMode, PluginOutput
from chronos.repeater.plugins.port import Field, Header, PluginFailed
from chronos.repeater.port import Moment, Run
from chronos.repeater.stops import Fate

NOW = Moment(100.0, 1e9)
RUN = Run(1, 98.0, 99.0, 1e9, ok=True, exit_code=0)


class Answering:
    """A plug-in that always answers the same."""

    def __init__(self, answer: Any) -> None:
        self.header: Header = source(scheduler("pass")).header
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []

    def fields(self) -> list[Field]:
        return []

    def create(self, options: Mapping[str, Any], seed: int) -> None:
        """There is nothing to make."""

    def ask(self, method: str, *arguments: Any) -> Any:
        self.asked.append((method, *arguments))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Starting:
    """A machine that only starts."""

    started: tuple[Any, ...] = ()

    def start(self, argv: Any, env: Any) -> int:
        self.started = (argv, env)
        return 42


def test_waits_count_from_the_end_of_the_run_and_are_never_in_the_past() -> None:
    assert PluginMode(Answering(5)).first_s(NOW) == 105.0
    assert PluginMode(Answering(5)).next_s(RUN, NOW) == 104.0
    assert PluginMode(Answering(0)).next_s(RUN, NOW) == 100.0
    assert PluginMode(Answering(None)).next_s(RUN, NOW) is None


@pytest.mark.parametrize("answer", [-1, math.nan, math.inf, WAIT_S_MAX * 2, "1", True, [1], {}])
def test_what_is_no_wait_ends_the_repetition(answer: Any) -> None:
    with pytest.raises(PluginFailed, match="a wait is a number of seconds"):
        PluginMode(Answering(answer)).next_s(RUN, NOW)


def test_there_is_always_a_first_run() -> None:
    with pytest.raises(PluginFailed, match="it answered None"):
        PluginMode(Answering(None)).first_s(NOW)


def test_a_mode_says_which_plug_in_it_is() -> None:
    assert PluginMode(Answering(1)).describe() == "sample 1, a sample"


def test_what_an_executor_answers_is_started_with_the_environment_of_the_run() -> None:
    machine, plugged = Starting(), Answering(["nice", "true"])
    assert PluginMachine(machine, plugged).start(["true"], {"RPR_RUN": "1"}) == 42  # type: ignore[arg-type]
    assert machine.started == (["nice", "true"], {"RPR_RUN": "1"})
    assert plugged.asked == [("command", ["true"], {"RPR_RUN": "1"})]


@pytest.mark.parametrize("answer", [[], None, "true", ["true", 1], ["x"] * 10_001, PluginFailed("sample", "it is ill")])
def test_what_is_no_command_fails_the_run_and_starts_nothing(answer: Any) -> None:
    machine = Starting()
    with pytest.raises(CannotStart, match="plug-in `sample` failed: it") as refused:
        PluginMachine(machine, Answering(answer)).start(["true"], {})  # type: ignore[arg-type]
    assert refused.value.exit_code == 126
    assert machine.started == ()


def report() -> Report:
    capture = Capture(texts=True, fingerprint=False)
    capture.add(1, b"hello\n")
    return Report(RUN, Fate.OK, 1, "", capture)


def test_an_output_sees_what_json_prints_and_what_it_answers_is_printed() -> None:
    printed: list[tuple[int, bytes]] = []
    plugged = Answering("seen\n")
    PluginOutput(lambda stream, data: printed.append((stream, data)), None, plugged).ended(report())
    assert printed == [(1, b"seen\n")]
    [(method, run)] = plugged.asked
    assert (method, run["stdout"], run["result"], run["exit_code"]) == ("process", "hello\n", "ok", 0)


@pytest.mark.parametrize("answer", [None, ""])
def test_an_output_may_have_nothing_to_say(answer: Any) -> None:
    printed: list[bytes] = []
    PluginOutput(lambda _, data: printed.append(data), None, Answering(answer)).ended(report())
    assert printed == []


@pytest.mark.parametrize("answer", [1, b"x", ["x"], "x" * (TEXT_MAX + 1)])
def test_what_is_no_text_ends_the_repetition(answer: Any) -> None:
    with pytest.raises(PluginFailed, match="text is a string of 1 MiB at most"):
        PluginOutput(lambda *_: None, None, Answering(answer)).ended(report())
