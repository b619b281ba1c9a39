"""Which cluster a data folder belongs to, and who is refused."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from tests.integration.server.shop import HandClock, a_shop, stocked

from chronos.cluster.memory import MemoryLog, SharedLog
from chronos.cluster.peers.roster import Address
from chronos.cluster.peers.tls import TlsFiles
from chronos.errors import ConfigInvalid, StateDamaged
from chronos.server import admission
from chronos.server.admission import ASIDE, Belonging, Stage, admit, path_of, read, refuse_alone, write
from chronos.server.clustered import Clustered, MemberAt
from chronos.store.sqlite import SqliteState
from chronos.timing.clock import SeededChance

UUID, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def place(uuid: str = UUID, *others: str) -> Clustered:
    at = MemberAt(Address("127.0.0.1", 7443), Address("127.0.0.1", 7444), "")
    return Clustered(
        node="n1",
        name="test",
        uuid=uuid,
        members=dict.fromkeys(("n1", *others), at),
        listen=Address("127.0.0.1", 7443),
        tls=TlsFiles(Path("node.crt"), Path("node.key"), Path("ca.crt")),
        engine="etcd://127.0.0.1:1",  # so that none is looked for on this machine
        engine_binary=None,
        election_s=1.0,
        keys=None,
    )


async def admitted(where: Clustered, data: Path) -> admission.Admission:
    return await admit(where, data, {}, HandClock(), SeededChance(random.Random(1)))


async def lone(data: Path) -> int:
    """Let a node stand alone in a folder for a while; return its last entry."""
    async with a_shop(data, seed=1, clock=HandClock()) as shop:
        await stocked(shop)
        await shop.work(3)
        return shop.state.applied_index


@pytest.mark.asyncio
async def test_an_empty_folder_becomes_a_members_and_says_so(tmp_path: Path) -> None:
    assert (await admitted(place(UUID, "n2", "n3"), tmp_path)).base == 0
    assert read(tmp_path) == Belonging(cluster_uuid=UUID, node="n1", stage=Stage.MEMBER)
    assert (await admitted(place(UUID, "n2", "n3"), tmp_path)).base == 0
    with pytest.raises(ConfigInvalid, match="belongs to the cluster"):
        await admitted(place(OTHER), tmp_path)
    with pytest.raises(ConfigInvalid, match="cannot go back to standing alone"):
        refuse_alone(tmp_path)


@pytest.mark.asyncio
async def test_all_that_a_lone_node_wrote_is_the_base_of_its_cluster(tmp_path: Path) -> None:
    last = await lone(tmp_path)
    found = await admitted(place(), tmp_path)
    assert found.base == last + 1, "and one entry that says that what it had under way is unknown"
    again = await admitted(place(), tmp_path)
    assert again.base == found.base, "killed here, the next start goes on with it and folds nothing again"
    shared = SharedLog()
    shared.base = shared.last = found.base
    await again.entered(MemoryLog(shared))
    assert read(tmp_path) == Belonging(cluster_uuid=UUID, node="n1", stage=Stage.MEMBER, base=found.base)
    assert (tmp_path / "log" / ASIDE).exists()
    assert not (tmp_path / "log" / "log.db").exists()
    state = SqliteState(tmp_path)
    await state.start()
    assert state.applied_index == found.base
    await state.stop()
    assert (await admitted(place(UUID, "n2"), tmp_path)).base == 0, "others have joined; this is a member like them"


@pytest.mark.asyncio
async def test_a_cluster_that_has_a_log_already_is_not_founded_again(tmp_path: Path) -> None:
    await lone(tmp_path)
    found = await admitted(place(), tmp_path)
    with pytest.raises(ConfigInvalid, match="has a log already"):
        await found.entered(MemoryLog(SharedLog()))
    assert (tmp_path / "log" / "log.db").exists()


@pytest.mark.asyncio
async def test_several_nodes_do_not_begin_from_one_folder(tmp_path: Path) -> None:
    await lone(tmp_path)
    with pytest.raises(ConfigInvalid, match="becomes a cluster of one first"):
        await admitted(place(UUID, "n2"), tmp_path)
    assert read(tmp_path) is None
    refuse_alone(tmp_path)
    await admitted(place(), tmp_path)
    with pytest.raises(ConfigInvalid, match="becomes a cluster of one first"):
        await admitted(place(UUID, "n2"), tmp_path)


@pytest.mark.asyncio
async def test_a_folder_from_which_nothing_was_founded_goes_back_and_one_with_an_engine_does_not(
    tmp_path: Path,
) -> None:
    await lone(tmp_path)
    await admitted(place(), tmp_path)
    refuse_alone(tmp_path)
    assert read(tmp_path) is None
    await admitted(place(), tmp_path)
    (tmp_path / "engine").mkdir()
    with pytest.raises(ConfigInvalid, match="cannot go back"):
        refuse_alone(tmp_path)


def test_a_member_of_an_older_release_is_known_by_its_engines_marker(tmp_path: Path) -> None:
    (tmp_path / "MEMBER").write_text("{}")
    with pytest.raises(ConfigInvalid, match="cannot go back"):
        refuse_alone(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b"[]"])
def test_what_cannot_be_read_is_not_guessed_at(text: bytes, tmp_path: Path) -> None:
    path_of(tmp_path).write_bytes(text)
    with pytest.raises(StateDamaged, match="cannot be read"):
        read(tmp_path)


def test_what_a_newer_release_wrote_is_left_alone(tmp_path: Path) -> None:
    newer = Belonging(format=2, cluster_uuid=UUID, node="n1", stage=Stage.MEMBER)
    write(tmp_path, newer)
    before = path_of(tmp_path).read_bytes()
    with pytest.raises(StateDamaged, match="newer release"):
        read(tmp_path)
    assert path_of(tmp_path).read_bytes() == before
    assert msgspec.json.decode(before)["format"] == 2
