"""How an etcd is reached: over TLS that asks for a certificate, and over a socket in a folder of our own."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.etcds import Etcds, etcds

from chronos.cluster.certificates import Pair, issue, make_authority
from chronos.cluster.etcd.client import ClientSettings, EtcdTls
from chronos.cluster.etcd.log import EtcdLog, EtcdLogSettings
from chronos.errors import LogDamaged, LogFailed, Unavailable
from chronos.timing.clock import SeededChance

PATIENT = EtcdLogSettings(append_s=10.0, client=ClientSettings(answer_s=20.0))
HASTY = EtcdLogSettings(client=ClientSettings(call_s=0.5, answer_s=1.0))


class Secured:
    """An etcd that listens with TLS and on a socket, and who may speak with it."""

    def __init__(self, folder: Path) -> None:
        now, chance = datetime.now(UTC), SeededChance(random.Random(1))
        authority = make_authority("prod", now=now, chance=chance)
        self.own = issue(authority, "prod", "n1", ["127.0.0.1"], now=now, chance=chance)
        self.authority = authority
        foreign = make_authority("other", now=now, chance=chance)
        self.stranger = issue(foreign, "prod", "n1", ["127.0.0.1"], now=now, chance=chance)
        for name, data in (("ca", authority.certificate), ("cert", self.own.certificate), ("key", self.own.key)):
            (folder / name).write_bytes(data)
        self.flags = [f"--trusted-ca-file={folder / 'ca'}", "--client-cert-auth=true"]
        self.flags += [f"--cert-file={folder / 'cert'}", f"--key-file={folder / 'key'}"]

    def shown(self, pair: Pair) -> EtcdTls:
        return EtcdTls(self.authority.certificate, pair.certificate, pair.key)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Secured, Etcds]]:
    folder = tmp_path_factory.mktemp("s")
    secured = Secured(folder)
    cluster = Etcds(folder, 1, secured.flags)
    member = cluster.members[0]
    member.endpoint = f"https://127.0.0.1:{member.port}"
    member.extra.append(f"--listen-client-urls={member.endpoint},unix://client:0")
    try:
        cluster.start()
        yield secured, cluster
    finally:
        cluster.stop()


async def write_and_read(endpoint: str, tls: EtcdTls | None, name: str) -> None:
    async with asyncio.timeout(60), EtcdLog([endpoint], name, tls=tls, settings=PATIENT) as log:
        following = log.follow(1)
        await log.append(1, b"one", await log.campaign())
        assert (await anext(following)).data == b"one"


def test_a_log_is_reached_over_tls_with_a_certificate_of_the_cluster(secured: tuple[Secured, Etcds]) -> None:
    who, cluster = secured
    asyncio.run(write_and_read(cluster.endpoints[0], who.shown(who.own), "tls"))


def test_a_log_is_reached_over_a_socket(secured: tuple[Secured, Etcds]) -> None:
    _, cluster = secured
    asyncio.run(write_and_read(f"unix://{cluster.members[0].folder}/client:0", None, "socket"))


@pytest.mark.parametrize("who", ["nobody", "a-stranger"])
def test_who_has_no_certificate_of_the_cluster_gets_no_answer(secured: tuple[Secured, Etcds], who: str) -> None:
    side, cluster = secured
    endpoint = cluster.endpoints[0]

    async def run() -> None:
        tls = side.shown(side.stranger) if who == "a-stranger" else None
        log = EtcdLog([endpoint if tls else endpoint.replace("https", "http")], "c", tls=tls, settings=HASTY)
        try:
            with pytest.raises(Unavailable):
                await log.start()
        finally:
            await log.stop()

    asyncio.run(run())


def test_a_key_is_never_printed(secured: tuple[Secured, Etcds]) -> None:
    assert "PRIVATE" not in repr(secured[0].shown(secured[0].own))


def test_an_etcd_that_lost_its_disk_is_found_out_by_who_has_seen_what_was_on_it(tmp_path: Path) -> None:
    async def run(cluster: Etcds) -> None:
        await cluster.ready()
        async with EtcdLog(cluster.endpoints, "c", settings=PATIENT) as log:
            epoch = await log.campaign()
            for index in range(1, 6):
                await log.append(index, b"entry", epoch)
            cluster.members[0].kill()
            shutil.rmtree(cluster.members[0].folder / "data")
            cluster.start()
            await cluster.ready()
            with pytest.raises(LogDamaged, match="acknowledged and is gone"):
                await log.read_barrier()

    with etcds(tmp_path) as cluster:
        asyncio.run(run(cluster))


def test_a_log_that_was_closed_says_so(tmp_path: Path) -> None:
    async def run(cluster: Etcds) -> None:
        await cluster.ready()
        log = EtcdLog(cluster.endpoints, "c")
        await log.start()
        await log.stop()
        await log.stop()
        with pytest.raises(LogFailed, match="closed"):
            await log.bounds()

    with etcds(tmp_path) as cluster:
        asyncio.run(run(cluster))


def test_a_node_on_its_own_loads_nothing_of_the_engine() -> None:
    check = "import sys, chronos.server.assemble; sys.exit(bool({'grpc', 'google.protobuf'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
