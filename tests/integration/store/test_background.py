"""The process that writes a busy state's files: what it writes, and what becomes of it all when it ends."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.integration.store.test_recovery import TINY, Node, recovers_to_what_the_log_says, running
from tests.integration.store.workload import Workload

from chronos.errors import DataFolderInUse, StorageFull
from chronos.store.background import files, lock, process, protocol, relief
from chronos.store.background.files import BackgroundSegment, BackgroundState
from chronos.store.background.lock import Locked, hold, wait_unused
from chronos.store.background.process import BackgroundProcess, Lost
from chronos.store.background.relief import STARTS_MAX
from chronos.store.commands import PutDocument
from chronos.store.sqlite import SqliteState
from chronos.store.statefile import StateWriter

BUSY = replace(TINY, background_rows=1)
STEPS = 150

SERVER = """
import sys
from pathlib import Path
from chronos.store.background import process, protocol

there = process.BackgroundProcess(Path(sys.argv[1]))
there.ask(protocol.OpenState(sys.argv[1] + "/state.db", 0))
print(there.pid, flush=True)
sys.stdin.read()
"""

Looking = Callable[[Node, int], None]


async def worked(folder: Path, look: Looking = lambda *_: None) -> None:
    """Let a busy node do a day's work; `look` at it before each flush, one in ten steps."""
    async with running(folder, BUSY) as node:
        workload = Workload(7, node.commands, node.state)
        for step in range(STEPS):
            await workload.step()
            if step % 10 == 9:
                look(node, step)
                await node.state.flush(patiently=step % 20 == 9)


def the_process(state: SqliteState) -> BackgroundProcess:
    found = state._relief.process
    assert found is not None
    return found


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_writes_what_the_log_says_and_ends_with_the_state(tmp_path: Path) -> None:
    seen: set[int] = set()

    def note(node: Node, step: int) -> None:
        if step > 10:
            seen.add(the_process(node.state).pid)

    async def run() -> None:
        await worked(tmp_path, note)
        assert len(seen) == 1
        assert not is_there(seen.pop())
        await recovers_to_what_the_log_says(tmp_path)

    asyncio.run(run())


def test_nothing_is_lost_when_it_is_killed_again_and_again(tmp_path: Path) -> None:
    killed: set[int] = set()

    def kill(node: Node, step: int) -> None:
        there = node.state._relief.process
        if there is not None and not there.is_lost:
            os.kill(there.pid, signal.SIGKILL)
            killed.add(there.pid)

    async def run() -> None:
        await worked(tmp_path, kill)
        assert len(killed) == STARTS_MAX, "who loses all of them goes on without"
        await recovers_to_what_the_log_says(tmp_path)

    asyncio.run(run())


@pytest.mark.parametrize(
    "of",
    [
        protocol.WriteState,
        protocol.WriteSegment,
        protocol.Finish,
        protocol.Checkpoint,
        protocol.OpenSegment,
        protocol.Close,
    ],
)
def test_what_it_did_and_did_not_say_is_not_done_twice(
    of: type[protocol.Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    done: list[object] = []
    write, answer = BackgroundProcess.write, BackgroundProcess._answer

    def remembering(self: BackgroundProcess, rows: Any, request: protocol.Request) -> Any:
        asked.append(request)
        return write(self, rows, request)

    def ended_meanwhile(self: BackgroundProcess) -> protocol.Answer:
        answered = answer(self)
        if isinstance(asked[-1], of):
            done.append(asked[-1])
            self._child.kill()
            raise OSError("it has ended")
        return answered

    monkeypatch.setattr(BackgroundProcess, "write", remembering)
    monkeypatch.setattr(BackgroundProcess, "_answer", ended_meanwhile)

    async def run() -> None:
        await worked(tmp_path)
        assert done
        await recovers_to_what_the_log_says(tmp_path)

    asyncio.run(run())


def test_a_file_that_is_further_than_anybody_heard_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process commits and dies, and there is no space to open the file anew: the next one finds it further on."""

    def told_nobody(self: BackgroundProcess) -> protocol.Answer:
        self._reader.feed(self._socket.recv(1 << 16))  # it has been done
        raise OSError("it has ended")

    def no_space(*_: object) -> None:
        raise StorageFull

    async def run() -> None:
        async with running(tmp_path, BUSY) as node:
            workload = Workload(7, node.commands, node.state)
            for _ in range(20):
                await workload.step()
                await node.state.flush()
            first = the_process(node.state)
            await workload.step()
            with monkeypatch.context() as broken:
                broken.setattr(BackgroundProcess, "_answer", told_nobody)
                broken.setattr(files, "StateWriter", no_space)
                broken.setattr(node.state.history, "write_all", lambda *_: None)
                with pytest.raises(StorageFull):
                    await node.state.flush()
            await workload.step()
            await node.state.flush()
            assert the_process(node.state) is not first
        await recovers_to_what_the_log_says(tmp_path)

    asyncio.run(run())


def test_a_full_disk_is_told_and_what_did_not_fit_is_written_when_there_is_space(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, replace(BUSY, pages_max=40)) as node:
            for number in range(100):
                try:
                    await node.commands.propose(PutDocument("p", "default", f"{number:03d}", bytes(4_000)))
                    await node.state.flush()
                except StorageFull:
                    break
            assert 5 < number < 99
            the_process(node.state).end()
            node.state._relief._starts = STARTS_MAX
            with pytest.raises(StorageFull):
                await node.state.flush()  # by the server itself now, which meets the same bound
            writer: Any = node.state._writer
            writer._here._db.pragma("max_page_count", 100_000)
            await node.state.flush()
        await recovers_to_what_the_log_says(tmp_path)

    asyncio.run(run())


def test_a_state_that_is_started_again_begins_without_one(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, BUSY) as node:
            await Workload(7, node.commands, node.state).step()
            await node.state.flush()
            assert isinstance(node.state._writer, BackgroundState)
            state = node.state
        await state.start()
        assert isinstance(state._writer, StateWriter)
        assert not any(isinstance(live, BackgroundSegment) for live in state.history._live.values())
        await state.stop()

    asyncio.run(run())


def test_it_is_patient_unless_somebody_waits_or_much_has_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with running(tmp_path, BUSY) as node:
            workload = Workload(7, node.commands, node.state)

            async def is_patient(*, patiently: bool = True) -> bool:
                for _ in range(5):
                    await workload.step()
                await node.state.flush(patiently=patiently)
                return the_process(node.state).is_patient

            await is_patient()
            assert await is_patient()
            assert not await is_patient(patiently=False)
            monkeypatch.setattr(relief, "HURRIED_ROWS", 1)
            assert not await is_patient()
            monkeypatch.undo()
            assert await is_patient()
            there = the_process(node.state)
        assert not there.is_patient, "at the end"

    asyncio.run(run())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a policy")
def test_what_is_patient_gets_the_cores_that_nobody_else_wants(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, BUSY) as node:
            workload = Workload(7, node.commands, node.state)
            for _ in range(20):
                await workload.step()
                await node.state.flush(patiently=True)
            pid = the_process(node.state).pid
            threads = [int(thread) for thread in os.listdir(f"/proc/{pid}/task")]
            assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER, os.SCHED_IDLE}
            assert os.sched_getscheduler(pid) == os.SCHED_OTHER, "who hurries works in the first"

    asyncio.run(run())


def test_who_does_not_answer_is_ended_and_the_server_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[int] = []

    def stop(node: Node, step: int) -> None:
        if step == 49:
            monkeypatch.setattr(process, "PATIENT_S", 0.05)
            stopped.append(the_process(node.state).pid)
            os.kill(stopped[0], signal.SIGSTOP)

    async def run() -> None:
        await worked(tmp_path, stop)
        assert not is_there(stopped[0])
        await recovers_to_what_the_log_says(tmp_path)

    asyncio.run(run())


@pytest.mark.parametrize("wrong", ["no such program", "another release", "another process writes there"])
def test_without_one_the_server_writes_by_itself(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def look(node: Node, step: int) -> None:
        assert node.state._relief.process is None
        assert isinstance(node.state._writer, StateWriter)

    if wrong == "another process writes there":
        monkeypatch.setattr("chronos.store.sqlite.wait_unused", lambda folder: held.append(hold(folder)))
    if wrong == "no such program":
        monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    if wrong == "another release":
        monkeypatch.setattr(process, "__version__", "0.0.1")

    async def run() -> None:
        await worked(tmp_path, look)
        for descriptor in held:
            os.close(descriptor)
        monkeypatch.undo()
        await recovers_to_what_the_log_says(tmp_path)

    asyncio.run(run())


def test_it_hears_no_signal_that_a_terminal_sends_to_all_and_ends_when_its_server_does(tmp_path: Path) -> None:
    there = BackgroundProcess(tmp_path)
    answer = there.ask(protocol.OpenState(str(tmp_path / "state.db"), 0))
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(there.pid, each)
    assert there.ask(protocol.Checkpoint(str(tmp_path / "state.db"))) == answer
    there.close()
    assert there._child.returncode == 0
    with pytest.raises(Lost):
        there.ask(protocol.Close(str(tmp_path / "state.db")))


def test_it_does_not_outlive_a_server_that_is_killed(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    assert int(server.stdout.readline()) > 0
    with pytest.raises(Locked):
        hold(tmp_path)
    server.kill()
    server.communicate()
    wait_unused(tmp_path)
    os.close(hold(tmp_path))


def test_where_a_folder_cannot_be_locked_nobody_waits_and_no_process_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    wait_unused(tmp_path)
    with pytest.raises(OSError, match="No locks"):
        hold(tmp_path)


def test_a_server_does_not_start_beside_a_process_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOOKS_MAX", 2)

    async def run() -> None:
        async with running(tmp_path) as node:
            assert node.state.applied_index
        held = hold(tmp_path / "history")
        with pytest.raises(DataFolderInUse, match="earlier server"):
            await SqliteState(tmp_path).start()
        os.close(held)
        await recovers_to_what_the_log_says(tmp_path)

    asyncio.run(run())
