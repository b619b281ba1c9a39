"""`chronos service`: what it writes, what it refuses, and that nothing outside of a given root is touched."""

from __future__ import annotations

import configparser
import json
import os
import plistlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.architecture.source import ROOT

from chronos.cli.server import main
from chronos.cli.service import launchd, systemd
from chronos.cli.service.doing import CommandFailed, Machine, ask
from chronos.cli.service.plan import Installation, Run, WriteFile
from chronos.errors import Unavailable

PROGRAM = Path("/opt/chronos/bin/chronos")
UNIT = "etc/systemd/system/chronos.service"
PLIST = "Library/LaunchDaemons/chronos.server.plist"
WANTED = Installation(program=PROGRAM, data_dir=systemd.STATE_DIR, home=Path("/home/ada"), user="chronos")


def service(root: Path, *arguments: str, manager: str = "systemd") -> Result:
    """Run `chronos service`, with a folder for the machine."""
    where = ["--root", str(root), "--manager", manager]
    if arguments[0] == "install":
        where += ["--program", str(PROGRAM)]
    return CliRunner().invoke(main, ["service", *arguments, *where])


def files_below(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def read(text: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    return unit


def test_a_service_is_installed_stays_the_same_when_installed_again_and_is_taken_away(tmp_path: Path) -> None:
    first = service(tmp_path, "install")
    assert first.exit_code == 0, first.output
    assert files_below(tmp_path) == {UNIT}
    text = (tmp_path / UNIT).read_text()
    again = service(tmp_path, "install")
    assert again.exit_code == 0
    assert "write" not in again.output
    assert (tmp_path / UNIT).read_text() == text
    assert service(tmp_path, "uninstall").exit_code == 0
    assert files_below(tmp_path) == set()


def test_taking_away_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    done = service(tmp_path, "uninstall")

    assert (done.exit_code, done.output) == (0, "nothing to do: it is not installed\n")


def test_installing_with_other_options_changes_the_unit_and_restarts_it(tmp_path: Path) -> None:
    service(tmp_path, "install")
    done = service(tmp_path, "install", "--data-dir", "/srv/chronos")

    assert "write /etc/systemd/system/chronos.service" in done.output
    assert "systemctl restart chronos.service" in done.output
    assert read((tmp_path / UNIT).read_text())["Service"]["ReadWritePaths"] == "/srv/chronos"
    assert (tmp_path / "srv/chronos").is_dir()


@pytest.mark.parametrize("manager", ["systemd", "launchd"])
@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_dry_run_shows_what_would_be_done_and_does_nothing(tmp_path: Path, manager: str, command: str) -> None:
    options = ["--run-as", "root"] if command == "install" else []
    if command == "uninstall":
        service(tmp_path, "install", "--run-as", "root", manager=manager)
    before = files_below(tmp_path)
    done = service(tmp_path, command, *options, "--dry-run", manager=manager)

    assert done.exit_code == 0, done.output
    assert files_below(tmp_path) == before
    assert "would: " in done.output
    assert "done: " not in done.output
    if command == "install":
        assert "/opt/chronos/bin/chronos" in done.output, "the whole file is shown"


def test_what_it_does_can_be_read_by_a_program(tmp_path: Path) -> None:
    told = json.loads(service(tmp_path, "install", "-o", "json").output)

    assert told["dry_run"] is False
    assert {"what": "write /etc/systemd/system/chronos.service", "done": True} in told["actions"]
    assert {"what": "run systemctl daemon-reload", "done": False} in told["actions"]
    assert told["files"]["/etc/systemd/system/chronos.service"] == (tmp_path / UNIT).read_text()


def test_a_unit_that_somebody_else_wrote_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / UNIT).parent.mkdir(parents=True)
    (tmp_path / UNIT).write_text("[Service]\nExecStart=/usr/bin/other\n")
    for command in ("install", "uninstall"):
        refused = service(tmp_path, command)
        assert refused.exit_code == 5
        assert "was not written by" in refused.output
    assert "other" in (tmp_path / UNIT).read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--run-as", "nobody-of-that-name"], "no user nobody-of-that-name"),
        (["--run-as", "root", "--user"], "runs as you"),
        (["--data-dir", "/tmp/x"], "does not see /tmp"),
        (["--config", "/nowhere/chronos.yaml"], "/nowhere/chronos.yaml"),
    ],
)
def test_a_service_that_could_not_run_is_refused(tmp_path: Path, options: list[str], words: str) -> None:
    refused = service(tmp_path, "install", *options)

    assert refused.exit_code == 2
    assert words in refused.output
    assert files_below(tmp_path) == set()


def test_a_configuration_that_is_wrong_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    file = tmp_path / "chronos.yaml"
    file.write_text("clustr: {}\n")
    root = tmp_path / "root"
    root.mkdir()
    refused = service(root, "install", "--config", str(file))

    assert refused.exit_code == 2
    assert "cluster" in refused.output
    assert files_below(root) == set()


def test_the_configuration_decides_on_data_drain_and_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHRONOS_DATA_DIR", "/not/of/the/service")
    monkeypatch.setattr("chronos.cli.service.commands.UNSEEN", ())
    file = tmp_path / "chronos.yaml"
    document = {
        "cluster": {"data_dir": "/srv/data"},
        "server": {"drain": "2m", "http": {"address": "127.0.0.1:80"}},
    }
    file.write_text(json.dumps(document))
    root = tmp_path / "root"
    assert service(root, "install", "--config", str(file)).exit_code == 0
    found = read((root / UNIT).read_text())["Service"]

    assert found["TimeoutStopSec"] == "135"
    assert found["ReadWritePaths"] == "/srv/data"
    assert found["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"
    assert f"--config {file} " in found["ExecStart"]


def test_without_a_low_port_the_service_has_no_right_of_root() -> None:
    found = read(systemd.unit(WANTED))["Service"]

    assert (found["CapabilityBoundingSet"], found["AmbientCapabilities"], found["User"]) == ("", "", "chronos")


def test_a_stop_leaves_time_for_the_drain_and_programs_alone_until_its_end() -> None:
    found = read(systemd.unit(WANTED))["Service"]

    assert int(found["TimeoutStopSec"]) > WANTED.drain_s
    assert found["KillMode"] == "mixed"


def test_it_is_started_again_after_every_code_but_those_the_reference_names() -> None:
    page = (ROOT / "docs/reference/exit-codes.md").read_text()
    [named] = re.findall(r"start it again after every code but 0, ([\d, and]+)\.", page)

    assert systemd.NO_RESTART.split() == re.findall(r"\d+", named)
    assert read(systemd.unit(WANTED))["Service"]["Restart"] == "on-failure"


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("/opt/chronos", "/opt/chronos"),
        ("/opt/my chronos", '"/opt/my chronos"'),
        ("/opt/100%", "/opt/100%%"),
        ("/opt/$HOME", "/opt/$$HOME"),
        ('/opt/"a"', '"/opt/\\"a\\""'),
        ("/opt/a\\b", "/opt/a\\\\b"),
    ],
)
def test_nothing_in_a_path_is_expanded(word: str, text: str) -> None:
    assert systemd.quoted(word) == text


@pytest.mark.parametrize("is_personal", [False, True])
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path, is_personal: bool) -> None:
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("CHRONOS_REQUIRE_SERVICES"):
            pytest.fail("systemd-analyze is not there (Debian: systemd)")
        pytest.skip("systemd-analyze is not there")
    program = tmp_path / "chronos"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "chronos.service"
    wanted = Installation(
        program=program, data_dir=Path("/srv/my data"), home=tmp_path, user="root", is_personal=is_personal
    )
    unit.write_text(systemd.unit(wanted))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(["--user"] if is_personal else []), str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    said = [line for line in verified.stderr.splitlines() if "chronos.service" in line]
    assert (verified.returncode, said) == (0, [])


def test_launchd_is_told_the_same(tmp_path: Path) -> None:
    done = service(tmp_path, "install", "--run-as", "root", "--data-dir", "/srv/chronos", manager="launchd")
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = plistlib.loads((tmp_path / PLIST).read_bytes())

    assert told["Label"] == "chronos.server"
    assert told["ProgramArguments"] == [str(PROGRAM), "server", "--data-dir", "/srv/chronos"]
    assert told["KeepAlive"] == {"SuccessfulExit": False}
    assert (told["RunAtLoad"], told["Umask"], told["UserName"]) == (True, 0o077, "root")
    assert told["ExitTimeOut"] > 30
    assert service(tmp_path, "uninstall", manager="launchd").exit_code == 0
    assert files_below(tmp_path) == set()


def test_launchd_is_asked_to_let_go_of_the_old_before_it_takes_the_new() -> None:
    actions = launchd.to_install(WANTED, b"an older one", uid=501)
    words = [action.words() for action in actions]

    assert [word.split()[:3] for word in words[1:]] == [
        ["run", "launchctl", "bootout"],
        ["write", "/Library/LaunchDaemons/chronos.server.plist"],
        ["run", "launchctl", "bootstrap"],
    ]


def test_on_macos_a_service_of_the_machine_wants_a_user(tmp_path: Path) -> None:
    refused = service(tmp_path, "install", manager="launchd")

    assert refused.exit_code == 2
    assert "--run-as USER" in refused.output


def test_a_personal_service_lies_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert service(tmp_path, "install", "--user").exit_code == 0

    assert files_below(tmp_path) == {"home/ada/.config/systemd/user/chronos.service"}
    found = read((tmp_path / "home/ada/.config/systemd/user/chronos.service").read_text())
    assert found["Service"]["ExecStart"].endswith("--data-dir /home/ada/.local/share/chronos")
    assert "User" not in found["Service"]
    assert found["Install"]["WantedBy"] == "default.target"


def test_the_status_of_what_is_not_installed_says_where_it_would_be(tmp_path: Path) -> None:
    asked = service(tmp_path, "status")
    assert asked.exit_code == 4
    assert "/etc/systemd/system/chronos.service" in asked.output
    service(tmp_path, "install")
    asked = service(tmp_path, "status", "-o", "json")
    assert asked.exit_code == 1
    assert json.loads(asked.output)["is_installed"] is True


def test_a_machine_without_systemd_is_told_so_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")
    written: list[object] = []
    monkeypatch.setattr(Machine, "do", lambda _, action: written.append(action))
    refused = CliRunner().invoke(main, ["service", "install", "--program", str(PROGRAM), "--manager", "systemd"])

    assert refused.exit_code == 6
    assert "systemd does not run on this machine" in refused.output
    assert written == []


def test_whoever_may_not_write_there_is_told_to_be_root(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "etc").mkdir(mode=0o500)
    refused = service(tmp_path, "install")

    assert refused.exit_code == 3
    assert "sudo" in refused.output


def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(CommandFailed, match=r"`sh -c echo no; exit 3` failed \(3\): no"):
        Machine().do(Run(["sh", "-c", "echo no; exit 3"]))


def test_a_command_that_may_fail_may() -> None:
    assert Machine().do(Run(["false"], may_fail=True)) is True


def test_a_command_that_is_not_there_is_told() -> None:
    with pytest.raises(Unavailable, match="no `no-such-command-here`"):
        ask(["no-such-command-here"])


def test_below_another_root_no_command_is_run(tmp_path: Path) -> None:
    assert Machine(tmp_path).do(Run(["touch", str(tmp_path / "x")])) is False
    assert not (tmp_path / "x").exists()


def test_a_file_is_replaced_as_a_whole_and_readable_by_all(tmp_path: Path) -> None:
    Machine(tmp_path).do(WriteFile(Path("/etc/a/unit"), b"one"))

    assert files_below(tmp_path) == {"etc/a/unit"}
    assert (tmp_path / "etc/a/unit").stat().st_mode & 0o777 == 0o644
