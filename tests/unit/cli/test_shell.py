"""The help, the completion, the manual, the schedules that need no server, and what is never loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tests.unit.cli.conftest import Ctl

from chronos.cli.chronosctl.manual import markdown, page, walk
from chronos.cli.chronosctl.root import cli, run
from chronos.cli.chronosctl.session import Session

CONTEXTS = list(walk(click.Context(cli, info_name="chronosctl")))


@pytest.mark.parametrize("ctx", CONTEXTS, ids=lambda ctx: ctx.command_path)
def test_every_command_explains_itself(ctl: Ctl, ctx: click.Context) -> None:
    done = ctl(*ctx.command_path.split()[1:], "--help")
    assert done.code == 0
    assert ctx.command.help
    assert ctx.command.help.partition("\n")[0].endswith(".")
    assert ctl.server.requests == []


@pytest.mark.parametrize("ctx", CONTEXTS, ids=lambda ctx: ctx.command_path)
def test_no_option_of_a_command_hides_a_common_one(ctx: click.Context) -> None:
    names = [name for param in ctx.command.params for name in (*param.opts, *param.secondary_opts) if name[0] == "-"]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("ctx", CONTEXTS, ids=lambda ctx: ctx.command_path)
def test_every_command_has_a_manual_page(ctx: click.Context) -> None:
    text = page(ctx)
    assert text.startswith('.TH "CHRONOSCTL')
    assert ".SH EXIT STATUS" in text
    assert not any(line.startswith("'") for line in text.splitlines())


def test_the_reference_has_every_command_and_every_exit_code() -> None:
    text = markdown(CONTEXTS[0])
    assert all(f"\n## {ctx.command_path}\n" in text for ctx in CONTEXTS)
    assert "| 130 | Interrupted. |" in text


def test_manual_pages_are_written_where_asked(ctl: Ctl, tmp_path: Path) -> None:
    assert ctl("man", str(tmp_path / "man1")).code == 0
    assert len(list((tmp_path / "man1").glob("chronosctl*.1"))) == len(CONTEXTS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_chronosctl(ctl: Ctl, shell: str) -> None:
    assert "_CHRONOSCTL_COMPLETE" in ctl("completion", shell).out


def completions(ctl: Ctl, *args: str, incomplete: str) -> list[str]:
    from click.shell_completion import ShellComplete

    session = Session(environ={"HOME": str(ctl.home)}, transport=ctl.server.transport)
    made = ShellComplete(cli, {"obj": session}, "chronosctl", "_CHRONOSCTL_COMPLETE")
    return [item.value for item in made.get_completions(list(args), incomplete)]


def test_names_of_jobs_are_completed_from_the_server(ctl: Ctl) -> None:
    for name in ("nightly", "night-watch", "weekly"):
        ctl.server.add(name)
    assert completions(ctl, "job", "get", incomplete="nigh") == ["night-watch", "nightly"]
    assert completions(ctl, "job", incomplete="tri") == ["trigger"]


def test_completion_is_silent_when_the_server_is(ctl: Ctl) -> None:
    ctl.server.on("GET", "/api/v1/jobs", 503, {})
    assert completions(ctl, "job", "get", incomplete="n") == []
    assert len(ctl.server.requests) == 1


def test_nothing_at_all_shows_the_help_and_is_wrong_input(ctl: Ctl) -> None:
    done = ctl()
    assert (done.code, done.out) == (2, "")
    assert "Exit codes:" in done.err


def test_a_schedule_is_explained_without_a_server(ctl: Ctl) -> None:
    done = ctl("schedule", "explain", "30 2 * * *", "--tz", "America/New_York", "--since", "2027-03-13")
    assert done.code == 0
    assert "Sun 2027-03-14 03:00:00 -04:00  2027-03-14T07:00:00Z" in done.out
    assert "2027-03-14T07:00:00Z  Run once at 03:00" in done.out
    assert ctl.server.requests == []


def test_the_next_runs_are_those_of_the_scheduler(ctl: Ctl) -> None:
    done = ctl("schedule", "next", "0 9 * * MON", "--tz", "Europe/Paris", "-c", "2", "-o", "json")
    assert [run["utc"] for run in done.json["next_runs"]] == ["2027-01-04T08:00:00Z", "2027-01-11T08:00:00Z"]


def test_every_counts_from_now(ctl: Ctl) -> None:
    done = ctl("schedule", "next", "@every 90s", "-c", "1", "-o", "json")
    assert done.json["next_runs"][0]["utc"] == "2027-01-01T12:01:30Z"


def test_a_schedule_with_nothing_ahead_says_so(ctl: Ctl) -> None:
    assert ctl("schedule", "next", "@at 2020-01-01T00:00:00Z").out == "It does not run again.\n"


@pytest.mark.parametrize("text", ["", "* * * *", "@reboot", "0 0 31 2 *", "x" * 600])
def test_what_is_no_schedule_is_exit_code_2(ctl: Ctl, text: str) -> None:
    done = ctl("schedule", "validate", text)
    assert (done.code, done.err.count("\n")) == (2, 1)


def test_chronosctl_loads_neither_the_server_nor_what_it_is_made_of() -> None:
    program = (
        "import sys, click\n"
        "from chronos.cli.chronosctl.root import cli\n"
        "from chronos.cli.chronosctl.manual import walk\n"
        "list(walk(click.Context(cli, info_name='chronosctl')))\n"
        "import chronos.client\n"
        "bad = ('chronos.server', 'chronos.features', 'chronos.store', 'chronos.scheduler', 'chronos.dispatch',\n"
        "       'chronos.cluster', 'uvicorn', 'uvloop', 'apsw')\n"
        "print([name for name in sys.modules if name.startswith(bad)])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_help_loads_nothing_that_only_commands_need() -> None:
    program = (
        "import sys\nfrom chronos.cli.chronosctl.root import run\nrun(['--help'])\n"
        "late = ('httpx2', 'ruamel.yaml', 'rich', 'msgspec', 'chronos.timing.schedule')\n"
        "print([name for name in late if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n")


def test_a_reader_that_leaves_is_no_error() -> None:
    program = "import sys\nfrom chronos.cli.chronosctl.root import run\nsys.exit(run(['--help']))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupt_is_exit_code_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("chronos.cli.chronosctl.root._invoke", interrupted)
    assert run(["job", "list"]) == 130
    assert capsys.readouterr().err == "chronosctl: interrupted\n"
