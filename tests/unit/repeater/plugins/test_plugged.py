"""A plug-in answers alike in our own process and in a sandbox, and whatever its code does comes out as one error."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.unit.repeater.plugins.written import EXAMPLES, scheduler, source, written

from chronos.repeater.plugins.host import Host
from chronos.repeater.plugins.port import Plugged, PluginFailed, PluginInvalid
from chronos.repeater.plugins.sandbox import Sandbox
from chronos.repeater.port import Run
from chronos.timing.clock import SystemClock

RUN = Run(1, 10.0, 11.0, 1e9, ok=False, exit_code=3)
Load = Callable[[str], Plugged]


def in_sandbox(text: str) -> Plugged:
    return Sandbox(source(text), SystemClock())


def in_process(text: str) -> Plugged:
    return Host(source(text))


@pytest.fixture(params=[in_process, in_sandbox])
def load(request: pytest.FixtureRequest) -> Load:
    found: Load = request.param
    return found


def test_a_scheduler_is_made_with_its_options_and_its_seed_and_told_of_each_run(load: Load) -> None:
    plugged = load(scheduler("return [self.options.wait, self.seed, run.exit_code]", options="wait: Duration = 2.0"))
    plugged.create({"wait": "1m"}, 7)
    assert plugged.ask("first_s") == 0
    assert plugged.ask("next_s", RUN) == [60.0, 7, 3]
    assert [field.name for field in plugged.fields()] == ["wait"]


def test_what_a_plug_in_raises_is_said_with_its_line(load: Load) -> None:
    text = scheduler("return 1 / 0")
    plugged = load(text)
    plugged.create({}, 1)
    line = text.splitlines().index("        return 1 / 0") + 1
    with pytest.raises(PluginFailed, match=f"plug-in `sample` failed: line {line}: ZeroDivisionError: division"):
        plugged.ask("next_s", RUN)


def test_a_plug_in_that_leaves_python_has_failed(load: Load) -> None:
    plugged = load(scheduler("raise SystemExit(0)"))
    plugged.create({}, 1)
    with pytest.raises(PluginFailed, match="SystemExit"):
        plugged.ask("next_s", RUN)


def test_a_file_that_cannot_be_run_has_failed(load: Load) -> None:
    with pytest.raises(PluginFailed, match="NameError"):
        load(scheduler("pass") + "nonsense\n")


def test_a_method_that_is_missing_is_a_failure(load: Load) -> None:
    plugged = load(written("def __init__(self, options, seed): pass"))
    plugged.create({}, 1)
    with pytest.raises(PluginFailed, match="has no attribute 'first_s'"):
        plugged.ask("first_s")


def test_a_plug_in_refuses_its_options_by_a_value_error(load: Load) -> None:
    plugged = load(scheduler("pass", init="raise ValueError('--wait is too short.')"))
    with pytest.raises(PluginInvalid, match=r"^plug-in `sample`: --wait is too short\.$"):
        plugged.create({}, 1)


def test_an_option_that_is_unknown_is_refused(load: Load) -> None:
    with pytest.raises(PluginInvalid, match="has no option --wiat"):
        load(scheduler("pass")).create({"wiat": "1"}, 1)


def test_options_that_are_no_struct_are_refused(load: Load) -> None:
    text = scheduler("pass").replace("class Options(msgspec.Struct, forbid_unknown_fields=True)", "class Options")
    with pytest.raises((PluginInvalid, PluginFailed), match=r"must be a msgspec\.Struct"):
        load(text)


def test_a_command_that_is_no_utf_8_arrives_as_it_is(load: Load) -> None:
    body = "def __init__(self, options): pass\ndef command(self, argv, env): return ['env', *argv]"
    plugged = load(written(body, kind="executor"))
    plugged.create({}, 0)
    argv = ["caf\udce9", "\N{HOT BEVERAGE}"]
    assert plugged.ask("command", argv, {"RPR_RUN": "1"}) == ["env", *argv]


def test_the_waits_of_the_example_are_fibonaccis_and_start_over(load: Load) -> None:
    plugged = load((EXAMPLES / "fibonacci.py").read_text("utf-8"))
    plugged.create({"base-interval": "1s", "max-interval": "5s"}, 1)
    assert [plugged.ask("next_s", RUN) for _ in range(8)] == [1, 1, 2, 3, 5, 1, 1, 2]


def test_the_example_starts_over_after_a_success_if_it_is_told_to(load: Load) -> None:
    plugged = load((EXAMPLES / "fibonacci.py").read_text("utf-8"))
    plugged.create({"base-interval": "1s", "reset-on-success": "true"}, 1)
    runs = [RUN, RUN, RUN, RUN._replace(ok=True), RUN]
    assert [plugged.ask("next_s", run) for run in runs] == [1, 1, 2, 1, 1]


def test_the_csv_of_the_example_can_be_read_again(load: Load) -> None:
    plugged = load((EXAMPLES / "csv-lines.py").read_text("utf-8"))
    plugged.create({}, 0)
    run = {"run": 2, "ok": False, "result": "failed", "exit_code": 1, "stdout": 'a "b", c\nd\n'}
    assert plugged.ask("process", json.loads(json.dumps(run))) == '2,failed,1,"a ""b"", c"\n'
