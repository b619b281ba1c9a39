"""Plug-ins as people use them: the examples with the real command, and every refusal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.acceptance.rpr.typed import Done, rpr
from tests.unit.repeater.plugins.written import EXAMPLES, put, scheduler, sha256, written

Plugins = dict[str, str]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the examples, that nobody else may write to."""
    place = tmp_path / "plugins"
    for file in EXAMPLES.glob("*.py"):
        put(place, file.stem, file.read_text("utf-8"))
    return place


def pins(place: Path) -> str:
    return ",".join(f"{file.stem}={sha256(file.read_text('utf-8'))}" for file in place.glob("*.py"))


def trusting(place: Path) -> Plugins:
    return {"RPR_PLUGINS_DIR": str(place), "RPR_PLUGINS_PINS": pins(place)}


def refused(done: Done, said: str) -> None:
    """Nothing was run, and one line says why."""
    assert (done.code, done.out) == (2, ""), done.err
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    assert said in done.err


def test_the_fibonacci_of_the_examples_runs_by_its_waits(place: Path) -> None:
    options = ["--base-interval", "100ms", "--max-interval=5m"]
    done = rpr("plugin", "fibonacci", *options, "-t", "5", "--", "date", "+%s%N", env=trusting(place))
    assert (done.code, len(done.lines)) == (0, 5), done.err
    assert [gap >= wait for gap, wait in zip(done.gaps_ms(), (99, 99, 199, 299), strict=True)] == [True] * 4


def test_its_starts_can_be_looked_at_first(place: Path) -> None:
    done = rpr("plugin", "fibonacci", "--base-interval", "1m", "--dry-run", "--", "date", env=trusting(place))
    assert [line.split()[-1] for line in done.lines[-5:]] == ["0s", "1m", "2m", "4m", "7m"]


def test_the_executor_of_the_examples_makes_each_run(place: Path) -> None:
    done = rpr("c", "-t", "2", "--executor", "nice:by=7", "--", "nice", env=trusting(place))
    assert (done.code, done.out) == (0, f"{os.nice(0) + 7}\n" * 2), done.err


def test_the_output_of_the_examples_stands_in_the_place_of_the_command_s(place: Path) -> None:
    flags = ["-t", "3", "--output", "csv-lines:separator=;,only-failures=true"]
    done = rpr("c", *flags, "--", "sh", "-c", "echo $RPR_RUN; [ $RPR_RUN != 2 ]", env=trusting(place))
    assert (done.code, done.out) == (1, '2;failed;1;"2"\n'), done.err


def test_several_outputs_are_shown_in_their_order(place: Path) -> None:
    flags = ["-t", "1", "--output", "csv-lines,csv-lines:separator=|"]
    assert rpr("c", *flags, "--", "echo", "a", env=trusting(place)).out == '1,ok,0,"a"\n1|ok|0|"a"\n'


def test_a_configuration_file_has_directory_pins_and_options(place: Path, tmp_path: Path) -> None:
    lines = ["[plugins]", f'dir = "{place}"', "[plugins.pins]"]
    lines += [f'{name} = "{pin}"' for name, pin in (each.split("=") for each in pins(place).split(","))]
    lines += ["[plugins.fibonacci]", 'base_interval = "1m"', "reset_on_success = true"]
    file = tmp_path / "rpr.toml"
    file.write_text("\n".join(lines))
    config = ["--config", str(file)]
    assert "pinned" in rpr(*config, "plugins", "list").out
    shown = rpr(*config, "plugin", "fibonacci", "--dry-run", "--next", "3", "--", "date")
    assert [line.split()[-1] for line in shown.lines[-3:]] == ["0s", "1m", "2m"]
    typed = rpr(*config, "plugin", "fibonacci", "--base-interval", "2m", "--dry-run", "--next", "2", "--", "date")
    assert typed.lines[-1].split()[-1] == "2m"


def test_the_list_shows_every_plug_in_and_runs_none(place: Path, tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    put(place, "sample", scheduler("return 1") + f"open({str(mark)!r}, 'w')\n")
    put(place, "broken", "def f(:")
    done = rpr("plugins", "list", env={"RPR_PLUGINS_DIR": str(place)})
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.lines] == ["NAME", "broken", "csv-lines", "fibonacci", "nice", "sample"]
    assert "refused" in done.lines[1]
    found = json.loads(rpr("plugins", "list", "-o", "json", env=trusting(place)).out)
    assert {each["name"]: each["state"] for each in found}["fibonacci"] == "pinned"
    assert not mark.exists()


def test_info_shows_the_options_with_their_types_and_defaults(place: Path) -> None:
    found = json.loads(rpr("plugins", "info", "fibonacci", "-o", "json", env=trusting(place)).out)
    assert [(each["name"], each["type"], each["default"]) for each in found["options"]] == [
        ("base-interval", "duration", None),
        ("max-interval", "duration", "5m"),
        ("reset-on-success", "bool", "false"),
    ]
    assert (found["kind"], found["sandbox"]) == ("scheduler", True)
    table = rpr("plugins", "info", "fibonacci", env=trusting(place)).out
    assert "--base-interval     duration  needed" in table


def test_check_prints_the_line_that_pins_and_runs_nothing(place: Path, tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    pin = put(place, "sample", scheduler("return 1") + f"open({str(mark)!r}, 'w')\n").partition("=")[2]
    done = rpr("plugins", "check", str(place / "sample.py"))
    assert (done.code, done.lines[-1]) == (0, f'sample = "{pin}"')
    assert json.loads(rpr("plugins", "check", str(place / "sample.py"), "-o", "json").out)["sha256"] == pin
    assert not mark.exists()


def test_a_plug_in_from_nowhere_in_particular_is_not_found(place: Path) -> None:
    # Beside us, and named by a path: neither is a directory that was configured.
    refused(rpr("plugin", "fibonacci", "--base-interval", "1s", "--", "date", cwd=place), "no directory is set")
    refused(rpr("plugin", str(place / "nice"), "--", "date", env=trusting(place)), "no plug-in `/")


def test_a_file_that_has_changed_is_refused(place: Path) -> None:
    trusted = trusting(place)
    with (place / "fibonacci.py").open("a") as file:
        file.write("# one line more\n")
    refused(rpr("plugin", "fibonacci", "--base-interval", "1s", "--", "date", env=trusted), "has changed since")


def test_a_file_that_is_not_pinned_is_refused(place: Path) -> None:
    refused(rpr("c", "-t", "1", "--executor", "nice", "--", "date", env={"RPR_PLUGINS_DIR": str(place)}), "not pinned")


@pytest.mark.parametrize("what", [".", "nice.py"])
def test_what_others_may_write_to_is_refused(place: Path, what: str) -> None:
    (place / what).chmod(0o777)
    for words in (["c", "-t", "1", "--executor", "nice", "--", "date"], ["plugins", "check", str(place / "nice.py")]):
        refused(rpr(*words, env=trusting(place)), "others may write to")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plugin", "fibonacci", "--", "date"], "needs --base-interval (duration)"),
        (["plugin", "fibonacci", "--base-intreval", "1s", "--", "date"], "Did you mean `--base-interval`?"),
        (["plugin", "fibonacci", "--base-interval", "1s", "--tmies", "3", "--", "date"], "Did you mean `--times`?"),
        (["plugin", "fibonacci", "--base-interval", "soon", "--", "date"], "--base-interval: "),
        (["plugin", "fibonacci", "--base-interval", "1s"], "command required"),
        (["plugin", "fibonaci", "--", "date"], "no plug-in `fibonaci`"),
        (["plugin", "nice", "--", "date"], "is of kind executor, not scheduler"),
        (["plugin", "fibonacci", "--base-interval", "2s", "--max-interval", "1s", "--", "date"], "must not be shorter"),
        (["c", "-t", "1", "--executor", "nice:by=99", "--", "date"], "`int` <= 19"),
        (["c", "-t", "1", "--executor", "nice,nice", "--", "date"], "takes one plug-in"),
        (["c", "-t", "1", "--output", "csv-lines", "--json", "--", "date"], "exclude each other"),
        (["plugins", "lsit"], "Did you mean `list`?"),
        (["plugins", "info"], "takes one NAME"),
        (["plugins", "list", "--all"], "unknown flag `--all`"),
        (["plugins", "list", "-o", "yaml"], "is not one of: table, json"),
        (["plugins", "check", "notes.txt"], "one Python file"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused_before_anything_runs(place: Path, words: list[str], said: str) -> None:
    refused(rpr(*words, env=trusting(place)), said)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to somebody else")
@pytest.mark.parametrize("what", [".", "nice.py"])
def test_what_belongs_to_somebody_else_is_refused(place: Path, what: str) -> None:
    os.chown(place / what, 65_534, -1)
    refused(rpr("c", "-t", "1", "--executor", "nice", "--", "date", env=trusting(place)), "belongs to user 65534")


def test_an_option_that_is_called_like_a_flag_of_rpr_is_refused(place: Path) -> None:
    put(place, "sample", scheduler("return 1", options="times: int = 3"))
    refused(rpr("plugin", "sample", "--", "date", env=trusting(place)), "its option --times is a flag of rpr")


def installed(site: Path, text: str) -> Plugins:
    """Install a package that offers a scheduler; returns the environment that finds it."""
    info = site / "waits-2.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: waits\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text("[chronos.rpr.schedulers]\nsample = waits.sample\n")
    (site / "waits").mkdir()
    (site / "waits" / "__init__.py").touch()
    (site / "waits" / "sample.py").write_text(text)
    return {"PYTHONPATH": str(site)}


@pytest.mark.parametrize("sandbox", ['"sandbox": True', ""])
def test_what_a_package_offers_is_used_without_a_pin(tmp_path: Path, sandbox: str) -> None:
    there = installed(tmp_path, scheduler("return 0 if run.number < 3 else None", more=sandbox))
    done = rpr("plugin", "sample", "--", "sh", "-c", "echo $RPR_RUN", env=there)
    assert (done.code, done.out) == (0, "1\n2\n3\n"), done.err


def test_what_a_package_offers_is_listed_and_not_imported(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    there = installed(tmp_path, scheduler("return 1") + f"open({str(mark)!r}, 'w')\n")
    [sample] = json.loads(rpr("plugins", "list", "-o", "json", env=there).out)
    assert (sample["name"], sample["kind"], sample["version"], sample["state"]) == (
        "sample",
        "scheduler",
        "2.5",
        "installed",
    )
    assert sample["origin"] == "package waits"
    assert not mark.exists()
    assert rpr("plugins", "info", "sample", env=there).code == 0
    assert mark.exists()


@pytest.mark.parametrize("flag", ["--executor", "--output"])
def test_a_plug_in_that_is_not_there_leaves_no_trace_and_no_dry_run_passes_it(place: Path, flag: str) -> None:
    words = ["c", "-t", "1", flag, "nothing", "--joblog", "log", "--", "date"]
    refused(rpr(*words, cwd=place, env=trusting(place)), "no plug-in `nothing`")
    assert not (place / "log").exists()
    refused(rpr(*words[:5], "--dry-run", "--", "date", env=trusting(place)), "no plug-in `nothing`")


@pytest.mark.parametrize("sandbox", ['"sandbox": True', ""])
def test_a_scheduler_that_fails_ends_the_repetition_with_its_line(place: Path, sandbox: str) -> None:
    put(place, "sample", scheduler("return 0 if run.number < 2 else 1 / 0", more=sandbox))
    done = rpr("plugin", "sample", "--", "echo", "a", env=trusting(place))
    assert (done.code, done.out) == (1, "a\na\n")
    assert "plug-in `sample` failed: line " in done.err
    assert "ZeroDivisionError" in done.err


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("\n        while True: pass", "no answer within 2 s"),
        ("return len(bytearray(2**31))", "MemoryError"),
        ("import os; os.kill(os.getpid(), 11)", "its process has ended (signal 11)"),
    ],
)
def test_a_sandboxed_plug_in_that_goes_wrong_takes_nothing_with_it(place: Path, act: str, said: str) -> None:
    if "MemoryError" in said and sys.platform == "darwin":
        pytest.skip("macOS has no limit on address space")
    put(place, "sample", scheduler(act, more='"sandbox": True'))
    done = rpr("plugin", "sample", "--", "echo", "a", env=trusting(place))
    assert (done.code, done.out) == (1, "a\n")
    assert said in done.err


def test_the_sandbox_can_be_asked_for_by_who_runs_it(place: Path) -> None:
    text = scheduler("return len(open('/etc/passwd').read()) * 0")
    put(place, "sample", text)
    free = rpr("plugin", "sample", "-t", "2", "--", "true", env=trusting(place))
    assert free.code == 0, free.err
    bound = rpr("plugin", "sample", "-t", "2", "--plugin-sandbox", "--", "true", env=trusting(place))
    assert bound.code == 1
    assert "Too many open files" in bound.err


def test_an_executor_that_fails_fails_the_run_and_the_next_one_is_tried(place: Path) -> None:
    body = "def __init__(self, options): pass\ndef command(self, argv, env): return argv[int(env['RPR_RUN']) % 2:]"
    put(place, "sample", written(body, kind="executor"))
    done = rpr("c", "-t", "2", "--executor", "sample", "--", "echo", env=trusting(place))
    assert (done.code, done.out) == (1, "\n")
    assert "run 1: plug-in `sample` failed: it answered []" in done.err


def test_nothing_of_the_sandbox_is_left_when_rpr_is_killed(place: Path, tmp_path: Path) -> None:
    first = "\nimport os\nPID = os.getpid()\n"
    refusing = scheduler("pass", init="raise ValueError(f'pid {os.getpid()}')", more='"sandbox": True') + first
    put(place, "sample", refusing)
    said = rpr("plugin", "sample", "--", "true", env=trusting(place)).err
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.split()[-1]), 0)


def test_a_run_without_a_plug_in_imports_none_of_it(tmp_path: Path) -> None:
    program = "import sys; from chronos.cli.rpr import run; run(['c', '-t', '1', '--', 'true']); "
    program += "print([name for name in sys.modules if 'plug' in name or name == 'importlib.metadata'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
