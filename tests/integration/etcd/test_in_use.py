"""What a node does with its engine: appends through its socket, runs on uvloop, fills it, sets it back to a copy."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
from pathlib import Path

import psutil
import pytest
from tests.etcds import binary, free_ports
from tests.integration.etcd.running import (
    PATIENCE_S,
    Supervised,
    alone,
    ask,
    packaged,
    running,
    running_together,
    supervisor,
    together,
)

from chronos.cluster.etcd import marker, probe
from chronos.cluster.etcd.client import Client
from chronos.cluster.etcd.flags import EngineSettings
from chronos.cluster.etcd.log import EtcdLog
from chronos.cluster.etcd.readiness import taking_part
from chronos.cluster.etcd.space import Step, needed
from chronos.cluster.etcd.supervisor import State


@pytest.fixture(params=["current", "packaged"])
def program(request: pytest.FixtureRequest) -> Path:
    return Path(binary()) if request.param == "current" else packaged()


def three(folder: Path) -> dict[str, EngineSettings]:
    return together(folder, ["n1", "n2", "n3"], free_ports(3))


async def write(engine: Supervised, key: str, value: bytes = b"x") -> bool:
    """Put something; returns whether the engine took it."""
    said = await ask(
        engine, "kv/put", key=base64.b64encode(key.encode()).decode(), value=base64.b64encode(value).decode()
    )
    return "header" in said


@pytest.mark.asyncio
async def test_the_log_is_kept_through_the_engine_s_socket(tmp_path: Path, program: Path) -> None:
    async with running(alone(tmp_path), program) as engine:
        log = EtcdLog([engine.endpoint], "c1")
        await log.start()
        try:
            epoch = await log.campaign()
            await log.append(1, b"one", epoch)
            await log.append(2, b"two", epoch)
            assert [entry.data async for entry in log.tail(1)] == [b"one", b"two"]
        finally:
            await log.stop()


@pytest.mark.asyncio
async def test_the_log_s_client_says_whether_the_engine_takes_part(tmp_path: Path) -> None:
    members = three(tmp_path)
    async with running_together(members) as engines:
        client = Client([engines["n1"].endpoint])
        try:
            assert await taking_part(client)()
            await engines["n2"].stop()
            await engines["n3"].stop()
            assert not await taking_part(client)(), "alone it agrees with nobody"
        finally:
            await client.close()


def test_an_engine_lives_and_is_started_again_on_uvloop(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def life() -> None:
        async with asyncio.timeout(PATIENCE_S), running(alone(tmp_path)) as engine:
            await engine.until(State.READY)
            pid = engine.status.pid
            assert pid is not None
            assert os.getsid(pid) == pid
            os.kill(pid, 9)
            await engine.until(State.DOWN)
            again = (await engine.until(State.READY)).pid
        assert again is not None
        assert not psutil.pid_exists(again)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(life())


@pytest.mark.asyncio
async def test_an_engine_that_is_full_refuses_writes_is_ready_and_says_what_it_needs(
    tmp_path: Path, program: Path
) -> None:
    async with running(alone(tmp_path, quota_bytes=16 << 20), program) as engine:
        for n in range(64):
            if not await write(engine, f"k{n}", bytes(1 << 20)):
                break
        else:
            pytest.fail("it took four times as much as it may")
        for _ in range(200):  # on a busy disk it says no when it takes more than a second
            if await probe.is_healthy(engine.socket):
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("it can be read, and has to be, to make room")
        numbers = await engine.metrics()
        assert numbers is not None
        assert needed(numbers.space(is_full=True)) is Step.RECOVER
        assert needed(numbers.space(is_full=False)) is Step.TRUNCATE


@pytest.mark.asyncio
async def test_an_engine_that_found_damage_is_not_ready_and_says_so(tmp_path: Path) -> None:
    async with running(alone(tmp_path)) as engine:
        await engine.until(State.READY)
        await ask(engine, "maintenance/alarm", action="ACTIVATE", alarm="CORRUPT")
        assert "alarm CORRUPT" in (await engine.until(State.UNREADY)).reason


@pytest.mark.asyncio
async def test_a_member_that_is_set_back_to_an_old_copy_ends_for_good(tmp_path: Path) -> None:
    members = three(tmp_path)
    async with running_together(members) as engines:
        await engines["n3"].stop()
        copy = tmp_path / "copy"
        shutil.copytree(members["n3"].engine_dir, copy)
        async with running(members["n3"]) as n3:
            for n in range(20):
                assert await write(engines["n1"], f"k{n}")
            assert "kvs" in await ask(n3, "kv/range", key=base64.b64encode(b"k19").decode()), "it has acknowledged them"
        shutil.rmtree(members["n3"].engine_dir)
        shutil.copytree(copy, members["n3"].engine_dir)
        async with await supervisor(members["n3"]) as again:
            assert "older than what it has acknowledged" in (await again.until(State.FAILED)).reason


@pytest.mark.asyncio
async def test_a_learner_is_ready_before_it_has_a_vote(tmp_path: Path, program: Path) -> None:
    members = together(tmp_path, ["n1", "n2"], free_ports(2))
    alone_first = together(tmp_path, ["n1"], [members["n1"].listen[1]])["n1"]
    async with running(alone_first, program) as n1:
        peer = f"http://127.0.0.1:{members['n2'].listen[1]}"
        assert "member" in await ask(n1, "cluster/member/add", peerURLs=[peer], isLearner=True)
        joining = EngineSettings(
            node="n2", cluster_uuid=alone_first.cluster_uuid, data_dir=members["n2"].data_dir,
            listen=members["n2"].listen, members=members["n2"].members, is_joining=True,
        )  # fmt: skip
        async with running(joining, program) as n2:
            numbers = await n2.metrics()
            assert numbers is not None
            assert numbers.is_learner
            client = Client([n2.endpoint])
            try:
                assert await taking_part(client)()
            finally:
                await client.close()


@pytest.mark.asyncio
async def test_the_marker_knows_the_member_by_the_engine_s_own_number(tmp_path: Path, program: Path) -> None:
    settings = alone(tmp_path)
    async with running(settings, program) as engine:
        numbers, mark = await engine.metrics(), marker.read(settings.data_dir)
        assert numbers is not None
        assert mark is not None
        assert mark.member_id == numbers.member_id != ""
