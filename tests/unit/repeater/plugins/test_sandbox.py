"""What a plug-in in a sandbox cannot do, and what becomes of it when it tries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.repeater.plugins.written import scheduler, source

from chronos.repeater.plugins.port import PluginFailed, PluginInvalid
from chronos.repeater.plugins.sandbox import USUAL, Limits, Sandbox
from chronos.repeater.port import Run
from chronos.timing.clock import SystemClock

RUN = Run(1, 10.0, 11.0, 1e9, ok=True, exit_code=0)


def made(next_s: str, limits: Limits = USUAL, first: str = "") -> Sandbox:
    sandbox = Sandbox(source(scheduler(next_s) + first), SystemClock(), limits)
    sandbox.create({}, 1)
    return sandbox


def asked(next_s: str, limits: Limits = USUAL) -> Any:
    return made(next_s, limits).ask("next_s", RUN)


def test_it_sees_no_environment_and_is_not_where_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    env, place = asked("import os; return [sorted(os.environ), os.getcwd()]")
    assert set(env) <= {"LC_CTYPE"}  # Python sets it by itself
    assert place == "/"


def test_it_has_no_descriptor_of_ours(tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        look = "\nimport os\nfound = []\nfor fd in range(256):\n"
        look += "    try: found.append(os.fstat(fd).st_ino)\n    except OSError: pass\n"
        seen = made("return found", first=look).ask("next_s", RUN)
        assert os.fstat(file.fileno()).st_ino not in seen
        assert 3 <= len(seen) <= 6


@pytest.mark.parametrize(
    "act",
    [
        "return open('/etc/hostname').read()",
        "return open('/tmp/written-by-a-plug-in', 'w').write('x')",
        "import socket; return socket.socket().fileno()",
        "import os; return os.pipe()",
    ],
)
def test_it_can_open_no_file_and_no_socket(act: str) -> None:
    with pytest.raises(PluginFailed, match="Too many open files"):
        asked(act)


def test_it_can_import_only_what_is_there_already() -> None:
    assert asked("import math, random, json, datetime; return math.floor(2.5)") == 2
    with pytest.raises(PluginFailed, match="Error"):
        asked("import sqlite3; return 1")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may start processes whatever the limit")
def test_it_can_start_no_process() -> None:
    with pytest.raises(PluginFailed, match="Error"):
        asked("import os; return os.fork()")


def test_one_that_hangs_is_ended_after_its_time() -> None:
    sandbox = made("\n        while True: pass", Limits(answer_s=0.5))
    with pytest.raises(PluginFailed, match=r"no answer within 0\.5 s"):
        sandbox.ask("next_s", RUN)
    with pytest.raises(PluginFailed, match="its process has ended"):
        sandbox.ask("next_s", RUN)


def test_one_that_uses_too_much_of_the_processor_is_ended() -> None:
    with pytest.raises(PluginFailed, match="more than 1 s of CPU"):
        asked("\n        while True: pass", Limits(cpu_s=1, answer_s=60.0))


@pytest.mark.skipif(os.uname().sysname == "Darwin", reason="macOS has no limit on address space")
def test_one_that_wants_too_much_memory_gets_none() -> None:
    with pytest.raises(PluginFailed, match="MemoryError"):
        asked("return len(bytearray(2**31))")


def test_one_that_dies_is_said_to_have_died() -> None:
    with pytest.raises(PluginFailed, match=r"its process has ended \(signal 9\)"):
        asked("import os; os.kill(os.getpid(), 9)")


def test_what_it_prints_goes_nowhere_and_disturbs_nothing() -> None:
    assert asked("print('x' * 100); import sys; sys.stderr.write('y'); return 1.5") == 1.5


def test_an_answer_that_json_cannot_say_is_a_failure_and_it_goes_on() -> None:
    sandbox = made("return {1, 2} if run.ok else 4")
    with pytest.raises(PluginFailed, match="cannot be written as JSON"):
        sandbox.ask("next_s", RUN)
    assert sandbox.ask("next_s", RUN._replace(ok=False)) == 4


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(PluginFailed, match="longer than 4 MiB"):
        asked("return 'x' * 5_000_000")


def test_its_process_is_gone_when_nobody_needs_it() -> None:
    sandbox = made("import os; return os.getpid()")
    pid = sandbox.ask("next_s", RUN)
    os.kill(pid, 0)
    del sandbox
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_hangs_while_it_is_loaded_is_ended_too() -> None:
    text = scheduler("pass") + "while True: pass\n"
    with pytest.raises(PluginFailed, match="no answer within 1 s"):
        Sandbox(source(text), SystemClock(), Limits(start_s=1.0))


def test_its_refusals_are_those_of_the_plug_in() -> None:
    with pytest.raises(PluginInvalid, match="has no option --x"):
        Sandbox(source(scheduler("pass")), SystemClock()).create({"x": "1"}, 1)
