"""Process targets, with real programs."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.integration.dispatch.samples import EXECUTION, process

from chronos.dispatch.executor import LocalExecutor
from chronos.dispatch.port import Cancelled, Delivered, Delivery, Done, NoAnswer, Outcome, Refused
from chronos.dispatch.process import ProcessDispatcher, ProcessSettings
from chronos.dispatch.process.groups import GroupRecord, GroupRecords, boot_id, start_ticks
from chronos.dispatch.redaction import secrets_in_play
from chronos.dispatch.router import Router
from chronos.timing.clock import SystemClock

IS_ROOT = os.geteuid() == 0
NOBODY = "nobody" if IS_ROOT else None
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
ON = ProcessSettings(enabled=True, allow_same_user=True)


def dispatcher(folder: Path, settings: ProcessSettings = ON, **more: Any) -> ProcessDispatcher:
    return ProcessDispatcher(folder / "groups", settings, **more)


def run(folder: Path, delivery: Delivery, settings: ProcessSettings = ON, **more: Any) -> Outcome:
    async def main() -> Outcome:
        async with asyncio.timeout(60), dispatcher(folder, settings, **more) as processes:
            return await Router({"process": processes}, SystemClock()).deliver(delivery)

    return asyncio.run(main())


def sh(script: str, **fields: Any) -> Delivery:
    return process("/bin/sh", "-c", script, **({"run_as": NOBODY} | fields))


def eventually(holds: Callable[[], bool]) -> bool:
    for _ in range(1_000):
        if holds():
            return True
        time.sleep(0.01)
    return False


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def is_gone(pid: int) -> bool:
    return not is_running(pid)


def test_an_exit_code_of_zero_is_success_and_the_output_is_kept(tmp_path: Path) -> None:
    outcome = run(tmp_path, sh("echo hello; echo oops >&2"))
    assert isinstance(outcome, Delivered)
    assert outcome.answer.status_code == 0
    assert outcome.answer.excerpt == "hello\noops\n"


def test_another_exit_code_is_a_failure_that_may_be_tried_again(tmp_path: Path) -> None:
    outcome = run(tmp_path, sh("echo why; exit 3"))
    assert isinstance(outcome, Refused)
    assert (outcome.error_class, outcome.permanent, outcome.answer.status_code) == ("exit_code", False, 3)
    assert outcome.answer.excerpt == "why\n"
    assert isinstance(run(tmp_path, sh("exit 3", success_exit_codes=[0, 3])), Delivered)


def test_a_signal_is_a_failure_that_names_it(tmp_path: Path) -> None:
    outcome = run(tmp_path, sh("kill -SEGV $$"))
    assert isinstance(outcome, Refused)
    assert "SIGSEGV" in outcome.reason


def test_arguments_are_never_read_by_a_shell(tmp_path: Path) -> None:
    nasty = ["; rm -rf /", "$(id)", "`id`", "a b", "*", "{{7*7}}", "{{.JobName}}"]
    outcome = run(tmp_path, process("printf", "%s\\n", *nasty, run_as=NOBODY))
    assert isinstance(outcome, Delivered)
    assert outcome.answer.excerpt.splitlines() == [*nasty[:-1], "nightly report"]


def test_the_environment_holds_what_was_named_and_the_run_s_identity_only(tmp_path: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "TZ": "UTC", "CHRONOS_API_KEY": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    outcome = run(
        tmp_path,
        process("/usr/bin/env", run_as=NOBODY, env={"COLOUR": "red"}, env_allow=["TZ", "LANG"]),
        environ=environ,
    )
    assert isinstance(outcome, Delivered)
    got = dict(line.split("=", 1) for line in outcome.answer.excerpt.splitlines())
    assert got == {
        "TZ": "UTC",
        "COLOUR": "red",
        "CHRONOS_EXECUTION_ID": EXECUTION,
        "CHRONOS_JOB_ID": "01JABCDEFGHJKMNPQRSTVWXYZ0",
        "CHRONOS_JOB_NAME": "nightly report",
        "CHRONOS_ATTEMPT": "2",
        "CHRONOS_SCHEDULED_TIME": "2027-01-01T09:00:00Z",
        "CHRONOS_FENCING_TOKEN": "1.7.4711",
    }


def test_a_variable_the_administrator_did_not_name_is_not_passed_on(tmp_path: Path) -> None:
    outcome = run(tmp_path, sh("true", env_allow=["AWS_SECRET_ACCESS_KEY"]), environ={"AWS_SECRET_ACCESS_KEY": "s"})
    assert isinstance(outcome, Refused)
    assert outcome.permanent
    assert "AWS_SECRET_ACCESS_KEY" in outcome.reason


def test_the_working_directory_is_fresh_writable_and_gone_afterwards(tmp_path: Path) -> None:
    outcome = run(tmp_path, sh("pwd; ls -A; touch mine"))
    assert isinstance(outcome, Delivered)
    [directory] = outcome.answer.excerpt.splitlines()
    assert not Path(directory).exists()


def test_a_named_working_directory_is_used_and_kept(tmp_path: Path) -> None:
    outcome = run(tmp_path, sh("pwd", directory="/usr/bin"))
    assert isinstance(outcome, Delivered)
    assert outcome.answer.excerpt == "/usr/bin\n"
    missing = run(tmp_path, sh("pwd", directory="/no/such/place"))
    assert isinstance(missing, Refused)
    assert "/no/such/place" in missing.reason


def test_standard_input_is_filled_in_given_and_closed(tmp_path: Path) -> None:
    outcome = run(tmp_path, process("cat", stdin="run {{.Attempt}}\n" + "x" * 200_000, run_as=NOBODY))
    assert isinstance(outcome, Delivered)
    assert outcome.answer.body.startswith(b"run 2\nxxx")
    assert outcome.answer.body_bytes == 200_006


def test_a_program_that_ignores_its_input_is_no_error(tmp_path: Path) -> None:
    assert isinstance(run(tmp_path, process("true", stdin="x" * 200_000, run_as=NOBODY)), Delivered)


def test_a_missing_program_is_refused_by_name(tmp_path: Path) -> None:
    outcome = run(tmp_path, process("no-such-program", run_as=NOBODY))
    assert isinstance(outcome, Refused)
    assert (outcome.error_class, outcome.permanent) == ("spawn", True)
    assert "no-such-program" in outcome.reason


@as_root
def test_the_program_runs_as_the_named_user_without_groups_of_the_server(tmp_path: Path) -> None:
    outcome = run(tmp_path, sh("id -un; id -G", run_as="nobody"))
    assert isinstance(outcome, Delivered)
    name, groups = outcome.answer.excerpt.splitlines()
    assert name == "nobody"
    assert "0" not in groups.split()


@as_root
def test_without_setpriv_the_launcher_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronos.dispatch.process.dispatcher.shutil.which", lambda name, path: None)
    outcome = run(tmp_path, sh("id -un; id -G; env | sort | head -1", run_as="nobody"))
    assert isinstance(outcome, Delivered)
    assert outcome.answer.excerpt.splitlines()[0] == "nobody"
    assert "0" not in outcome.answer.excerpt.splitlines()[1].split()


def test_a_process_leads_a_session_of_its_own(tmp_path: Path) -> None:
    outcome = run(tmp_path, sh("cut -d' ' -f1,5,6 /proc/$$/stat"))
    assert isinstance(outcome, Delivered)
    pid, group, session = outcome.answer.excerpt.split()
    assert pid == group == session
    assert session != str(os.getsid(0))


def test_a_flood_of_output_blocks_nobody_and_its_two_ends_are_kept(tmp_path: Path) -> None:
    pieces = 0

    def sink(execution_id: str, attempt: int, data: bytes) -> None:
        nonlocal pieces
        pieces += len(data)

    settings = msgspec.structs.replace(ON, log_bytes_max=1_000_000)
    outcome = run(tmp_path, sh("echo begin; yes | head -c 20000000; echo end"), settings, log_sink=sink)
    assert isinstance(outcome, Delivered)
    assert outcome.answer.body_bytes == 20_000_010
    assert outcome.answer.body.startswith(b"begin\ny\n")
    assert len(outcome.answer.body) <= 64 * 1024
    assert 1_000_000 <= pieces <= 1_000_100


def test_output_streams_to_the_log_redacted_even_across_pieces(tmp_path: Path) -> None:
    seen: list[tuple[str, int, bytes]] = []
    script = "printf c4na; sleep 0.2; printf ry-value; echo; echo done"
    with secrets_in_play({"c4nary-value"}):
        outcome = run(tmp_path, sh(script), log_sink=lambda *piece: seen.append(piece))
    assert isinstance(outcome, Delivered)
    assert outcome.answer.excerpt == "***\ndone\n"
    assert {(execution_id, attempt) for execution_id, attempt, _ in seen} == {(EXECUTION, 2)}
    assert b"".join(data for _, _, data in seen) == b"***\ndone\n"


def test_a_deadline_ends_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    script = f"trap '' TERM; sleep 300 & echo $! $$ > {pids}; wait; wait"
    delivery = msgspec.structs.replace(sh(script), timeout_us=1_000_000, cancel_grace_us=200_000)
    outcome = run(tmp_path, delivery)
    assert isinstance(outcome, NoAnswer)
    assert outcome.error_class == "timeout"
    for pid in map(int, pids.read_text().split()):
        assert eventually(partial(is_gone, pid))
    assert list((tmp_path / "groups").iterdir()) == []


def test_a_cancelled_program_may_clean_up_within_its_grace(tmp_path: Path) -> None:
    seen: list[bytes] = []
    reports: list[Done] = []

    async def main() -> None:
        started = asyncio.Event()

        def sink(execution_id: str, attempt: int, data: bytes) -> None:
            seen.append(data)
            started.set()

        async with asyncio.timeout(60), dispatcher(tmp_path, log_sink=sink) as processes:
            router = Router({"process": processes}, SystemClock())
            async with LocalExecutor(router.deliver, reports.extend, SystemClock()) as executor:
                executor.submit([sh("trap 'echo bye; exit 0' TERM; echo hi; sleep 300 & wait")])
                await started.wait()
                await executor.cancel([EXECUTION])

    asyncio.run(main())
    assert b"".join(seen) == b"hi\nbye\n"
    assert [done.outcome for done in reports] == [Cancelled()]


def test_what_a_program_leaves_behind_in_its_group_ends_with_it(tmp_path: Path) -> None:
    outcome = run(tmp_path, sh("sleep 300 & echo $!"))
    assert isinstance(outcome, Delivered)
    assert eventually(lambda: not is_running(int(outcome.answer.excerpt)))


@pytest.mark.parametrize(
    ("settings", "uid", "run_as", "words"),
    [
        (ProcessSettings(), 0, "nobody", "dispatcher.process.enabled"),
        (ProcessSettings(), 1000, None, "switched off"),
        (ProcessSettings(enabled=True), 0, None, "run_as"),
        (ProcessSettings(enabled=True, allow_same_user=True), 0, None, "run_as"),
        (ProcessSettings(enabled=True, allow_same_user=True), 0, "root", "root"),
        (ProcessSettings(enabled=True), 1000, None, "allow_same_user"),
        (ProcessSettings(enabled=True, allow_same_user=True), 1000, "nobody", "does not run as root"),
        (ProcessSettings(enabled=True), 0, "no-such-user", "no user"),
    ],
)
def test_a_process_the_rules_forbid_is_refused_for_good(
    tmp_path: Path, settings: ProcessSettings, uid: int, run_as: str | None, words: str
) -> None:
    ran = tmp_path / "ran"
    outcome = run(tmp_path, process("touch", str(ran), run_as=run_as), settings, server_uid=uid)
    assert isinstance(outcome, Refused)
    assert outcome.permanent
    assert words in outcome.reason
    assert not ran.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="start times are read from /proc")
def test_orphans_of_an_earlier_server_are_ended_at_the_start(tmp_path: Path) -> None:
    orphan = subprocess.Popen(["/bin/sh", "-c", "sleep 300 & wait"], start_new_session=True)
    records = GroupRecords(tmp_path / "groups")
    records.add(orphan.pid, EXECUTION, 1)

    async def main() -> list[GroupRecord]:
        return await dispatcher(tmp_path).end_orphans()

    assert [record.pid for record in asyncio.run(main())] == [orphan.pid]
    assert orphan.wait(30) == -signal.SIGKILL
    assert list((tmp_path / "groups").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="start times are read from /proc")
def test_orphans_whose_leader_is_gone_are_ended_too(tmp_path: Path) -> None:
    records = GroupRecords(tmp_path / "groups")
    leader = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 300 & echo $!; wait"],
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    assert leader.stdout is not None
    left = int(leader.stdout.readline())
    records.add(leader.pid, EXECUTION, 1)
    leader.kill()
    leader.wait(30)
    assert is_running(left)
    assert [record.pid for record in records.end_orphans()] == [leader.pid]
    assert eventually(lambda: not is_running(left))


@pytest.mark.skipif(sys.platform != "linux", reason="start times are read from /proc")
def test_a_number_that_belongs_to_somebody_else_by_now_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "groups"
    folder.mkdir()
    other = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        started = start_ticks(other.pid)
        assert started is not None
        for number, record in enumerate(
            [
                GroupRecord(other.pid, started - 1, boot_id(), EXECUTION, 1),
                GroupRecord(other.pid, started, "another boot", EXECUTION, 1),
            ]
        ):
            (folder / f"{number}.group").write_bytes(msgspec.json.encode(record))
        (folder / "broken.group").write_bytes(b"{")
        assert GroupRecords(folder).end_orphans() == []
        assert is_running(other.pid)
        assert list(folder.iterdir()) == []
    finally:
        other.kill()
        other.wait(30)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal")
def test_a_program_dies_with_a_server_that_is_killed(tmp_path: Path) -> None:
    server = f"""
import asyncio, sys
from pathlib import Path
from chronos.dispatch.process import ProcessDispatcher, ProcessSettings
from tests.integration.dispatch.samples import process
async def main():
    show = lambda execution_id, attempt, data: print(data.decode(), end="", flush=True)
    settings = ProcessSettings(enabled=True, allow_same_user=True)
    target = process("/bin/sh", "-c", "echo $$; exec sleep 300", run_as={NOBODY!r})
    await ProcessDispatcher(Path({str(tmp_path / "groups")!r}), settings, log_sink=show).deliver(target)
asyncio.run(main())
"""
    root = Path(__file__).parents[3]
    child = subprocess.Popen([sys.executable, "-c", server], stdout=subprocess.PIPE, cwd=root)
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    assert is_running(pid)
    child.kill()
    child.wait(30)
    assert eventually(lambda: not is_running(pid))
    assert [path.name for path in (tmp_path / "groups").iterdir()] == [f"{pid}.group"]
