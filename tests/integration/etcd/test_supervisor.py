"""One engine beside one node: a real etcd, that tests kill, stop and rob."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.etcds import ROOT, binary, free_ports
from tests.integration.cluster.members import Pki
from tests.integration.etcd.running import (
    PATIENCE_S,
    alone,
    ask,
    packaged,
    running,
    running_together,
    supervisor,
    together,
)

from chronos.cluster.etcd import child, marker
from chronos.cluster.etcd.failures import EngineFailed
from chronos.cluster.etcd.flags import SOCKET, EngineSettings, PeerTls
from chronos.cluster.etcd.supervisor import State
from chronos.errors import Unavailable

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=["current", "packaged"])
def program(request: pytest.FixtureRequest) -> Path:
    """An etcd of today, and the one of the distribution, whose flags and habits are older."""
    return Path(binary()) if request.param == "current" else packaged()


def kill(pid: int | None, sign: signal.Signals = signal.SIGKILL) -> None:
    assert pid is not None
    os.kill(pid, sign)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_an_engine_runs_answers_on_its_socket_and_ends(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCD_NAME", "somebody-else")
    monkeypatch.setenv("ETCD_DATA_DIR", str(tmp_path / "elsewhere"))
    settings = alone(tmp_path)
    async with running(settings, program) as engine:
        pid, numbers = engine.status.pid, await engine.metrics()
        assert pid is not None
        assert os.getsid(pid) == pid, "^C reaches this node, not its engine"
        assert mode(settings.run_dir) == mode(settings.engine_dir) == mode(settings.folder) == 0o700
        assert numbers is not None
        assert numbers.has_leader
        assert numbers.member_id
        assert numbers.quota_bytes == settings.quota_bytes
        assert numbers.fsync.count > 0
    assert engine.status.state is State.STOPPED
    assert not psutil.pid_exists(pid)
    assert not (settings.folder / "pid").exists()
    assert not (tmp_path / "elsewhere").exists()


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path, program: Path) -> None:
    settings = alone(tmp_path)
    async with running(settings, program) as engine:
        await ask(engine, "kv/put", key="YQ==", value="Yg==")
    async with running(settings, program) as engine:
        assert (await ask(engine, "kv/range", key="YQ=="))["kvs"][0]["value"] == "Yg=="


async def test_a_killed_engine_is_started_again(tmp_path: Path, program: Path) -> None:
    async with running(alone(tmp_path), program) as engine:
        first = engine.status.pid
        await engine.until(State.READY)
        kill(first)
        down = await engine.until(State.DOWN)
        assert "signal 9" in down.reason
        ready = await engine.until(State.READY)
        assert ready.restarts == 1
        assert ready.pid != first


async def test_an_engine_that_hangs_is_not_ready_and_is_killed_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "STOP_S_MAX", 0.2)
    async with running(alone(tmp_path)) as engine:
        await engine.until(State.READY)
        pid = engine.status.pid
        kill(pid, signal.SIGSTOP)
        while "does not answer" not in (unready := await engine.until(State.UNREADY)).reason:
            pass  # on a busy machine it may have been slow before
        assert unready.pid == pid
        with pytest.raises(Unavailable, match="not ready after 0 s"):
            await engine.wait_ready(0)
    assert pid is not None
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("how", ["setpriv", "launcher"])
async def test_an_engine_ends_with_a_node_that_is_killed(tmp_path: Path, how: str) -> None:
    if sys.platform != "linux":
        pytest.skip("elsewhere the next start ends it")
    command = [sys.executable, "-m", "tests.integration.etcd.parent", str(tmp_path), str(free_ports(1)[0]), binary()]
    command += ["launcher"] if how == "launcher" else []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:  # noqa: ASYNC220
        assert parent.stdout is not None
        try:
            engine = psutil.Process(int(parent.stdout.readline()))
        finally:
            parent.kill()
    engine.wait(PATIENCE_S)
    assert not engine.is_running()


async def test_an_engine_that_an_earlier_life_left_behind_is_ended(tmp_path: Path) -> None:
    settings = alone(tmp_path)
    async with running(settings) as engine:
        assert engine.status.pid is not None
        command = psutil.Process(engine.status.pid).cmdline()
    with subprocess.Popen(command, cwd=settings.run_dir, stderr=subprocess.DEVNULL, start_new_session=True) as orphan:  # noqa: ASYNC220
        (settings.folder / "pid").write_text(str(orphan.pid))
        async with running(settings) as engine:
            assert engine.status.pid != orphan.pid
            assert orphan.wait(PATIENCE_S) == -signal.SIGTERM, "it was asked, and had the time to end"


async def test_another_cluster_s_engine_on_the_port_is_named(tmp_path: Path) -> None:
    async with running(alone(tmp_path / "a")) as engine:
        other = together(tmp_path / "b", ["n1"], [engine._settings.listen[1]])["n1"]
        with pytest.raises(EngineFailed, match="is in use by another process"):
            await (await supervisor(other)).start()


async def test_a_socket_works_however_deep_the_data_folder_lies(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("elsewhere the path has to be short")
    async with running(alone(tmp_path / ("x" * 60) / ("y" * 60))) as engine:
        assert engine.endpoint.startswith("unix:/proc/self/fd/")
        assert engine.endpoint.endswith(SOCKET)


async def test_a_member_whose_disk_was_wiped_is_not_started(tmp_path: Path) -> None:
    settings = alone(tmp_path)
    async with running(settings):
        pass
    shutil.rmtree(settings.engine_dir)
    with pytest.raises(EngineFailed, match="chronosctl cluster remove"):
        await (await supervisor(settings)).start()
    assert not marker.has_data(settings)


async def test_a_member_whose_disk_is_wiped_while_it_runs_is_not_started_again(tmp_path: Path) -> None:
    settings = alone(tmp_path)
    async with running(settings) as engine:
        await engine.until(State.READY)
        shutil.rmtree(settings.engine_dir)
        kill(engine.status.pid)
        failed = await engine.until(State.FAILED)
        assert "is gone or older" in failed.reason
        with pytest.raises(EngineFailed, match="chronosctl cluster remove"):
            await engine.wait_ready()
    assert engine.status.state is State.FAILED


async def test_an_engine_whose_database_is_damaged_is_not_tried_again_and_again(tmp_path: Path, program: Path) -> None:
    settings = alone(tmp_path)
    async with running(settings, program):
        pass
    with (settings.engine_dir / "member/snap/db").open("r+b") as database:
        database.write(bytes(16_384))
    async with await supervisor(settings, program) as engine:
        assert "is damaged" in (await engine.until(State.FAILED)).reason


def three(folder: Path) -> dict[str, EngineSettings]:
    names, pki = ["n1", "n2", "n3"], Pki(folder)
    files = {name: pki.files(name) for name in names}
    tls = {name: PeerTls(of.certificate, of.key, of.authority) for name, of in files.items()}
    return together(folder / "data", names, free_ports(3), tls)


async def test_three_members_agree_and_let_in_nobody_without_a_certificate(tmp_path: Path) -> None:
    members = three(tmp_path)
    async with running_together(members) as engines:
        await ask(engines["n1"], "kv/put", key="YQ==", value="Yg==")
        assert (await ask(engines["n3"], "kv/range", key="YQ=="))["kvs"][0]["value"] == "Yg=="
        ids = {numbers.member_id for engine in engines.values() if (numbers := await engine.metrics())}
        assert len(ids) == 3
        assert members["n1"].tls is not None
        nobody = ssl.create_default_context(cafile=str(members["n1"].tls.ca_file))
        nobody.check_hostname = False
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _members_seen_by(nobody, members["n1"].listen[1])


async def test_a_certificate_that_is_replaced_is_shown_without_a_restart(tmp_path: Path) -> None:
    members, pki = three(tmp_path), Pki(tmp_path)
    async with running_together(members):
        port, tls = members["n1"].listen[1], members["n1"].tls
        assert tls is not None
        before = await asyncio.to_thread(_certificate_shown, port, tls)
        again = pki.files("n1", under="renewed")  # of another authority, which says it all the more clearly
        tls.key_file.write_bytes(again.key.read_bytes())
        tls.cert_file.write_bytes(again.certificate.read_bytes())
        after = await asyncio.to_thread(_certificate_shown, port, tls)
        assert after == ssl.PEM_cert_to_DER_cert(again.certificate.read_text()) != before


def _certificate_shown(port: int, tls: PeerTls) -> bytes | None:
    """Return what an engine shows to another one."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(tls.cert_file, tls.key_file)
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain, context.wrap_socket(plain) as secure:
        return secure.getpeercert(binary_form=True)


def _members_seen_by(context: ssl.SSLContext, port: int) -> bytes:
    import http.client

    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/members")
        return connection.getresponse().read()
    finally:
        connection.close()


async def test_a_member_that_lost_everything_is_not_let_in_under_its_old_name(tmp_path: Path) -> None:
    members = three(tmp_path)
    async with running_together(members) as engines:
        await engines["n3"].stop()
        shutil.rmtree(members["n3"].data_dir)
        members["n3"].data_dir.mkdir()
        async with await supervisor(members["n3"]) as again:
            failed = await again.until(State.FAILED)
            assert "know n3 as a member already" in failed.reason
            assert "`chronosctl cluster remove n3`" in failed.reason


async def test_a_member_that_was_removed_ends_for_good(tmp_path: Path) -> None:
    members = three(tmp_path)
    async with running_together(members) as engines:
        await engines["n3"].until(State.READY)
        for _ in range(200):  # for five seconds after the start etcd takes the cluster for unhealthy
            listed = (await ask(engines["n1"], "cluster/member/list"))["members"]
            [n3] = [member["ID"] for member in listed if member["name"] == "n3"]
            if "header" in await ask(engines["n1"], "cluster/member/remove", ID=n3):
                break
            await asyncio.sleep(0.1)
        failed = await engines["n3"].until(State.FAILED)
        assert "n3 was removed from the cluster" in failed.reason


async def test_without_a_majority_a_member_is_not_ready_and_says_whom_it_misses(tmp_path: Path) -> None:
    members = three(tmp_path)
    async with await supervisor(members["n1"]) as engine:
        with pytest.raises(Unavailable, match="majority of the members; are n2, n3 up"):
            await engine.wait_ready(1)
        assert engine.status.state is State.STARTING
