"""After the last stop, or the last before a restore: the disk is read, with nobody at work, and every file verified."""

from __future__ import annotations

import apsw

from chronos.cluster.logfile import LogFile
from chronos.errors import ChronosError
from chronos.store.commands import decode_entry
from chronos.store.entryfold import fold_entry
from chronos.store.machine import apply
from chronos.store.port import At
from chronos.store.records import AFTER_ALL, RecordFilter
from chronos.store.sqlite import SqliteState
from chronos.store.state import MemoryState
from chronos.store.tables import JOBS, REVISIONS, SHARDS, Shard
from chronos.testing.simulation.disk import Mount
from chronos.testing.simulation.evidence import Evidence
from chronos.testing.simulation.load import CANARY
from chronos.testing.simulation.node import SimLife, SimNode
from chronos.testing.simulation.world import World

RECORDS_MAX = 10_000_000


async def look_at_disk(world: World, node: SimNode, life: SimLife) -> None:
    """Read the records as they are kept, with nobody at work, and verify every file."""
    evidence = world.evidence
    mount = Mount(node.disk, world.folder / f"node{node.number}-end{life.number}", life.mount.folder)
    try:
        state = SqliteState(mount.folder, vfs=mount.vfs)
        await state.start()
        await gather(evidence, state)
        evidence.digests[node.number] = (await state.digest(), await replayed(world, state.applied_index))
        await state.stop()
        evidence.integrity |= {f"node {node.number}: {name}": found for name, found in _verified(node, mount).items()}
    finally:
        mount.close()
    read_revisions(evidence)
    evidence.leaks += node.disk.contains(CANARY.encode())
    world.trace.add("state", evidence.digests[node.number][0])


async def gather(evidence: Evidence, state: SqliteState) -> None:
    """Take the records of one node: that every other has the same is I19."""
    if evidence.records:
        return
    for record in await state.find_records(RecordFilter(), AFTER_ALL, RECORDS_MAX):
        evidence.records.setdefault(record.job_id, []).append(record)
    evidence.open_at_end = state.open_executions()
    evidence.hwm_s = (state.get(SHARDS, "0") or Shard()).hwm_s


def _verified(node: SimNode, mount: Mount) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in sorted(node.disk.files):
        if name.endswith(".db"):
            db = apsw.Connection(str(mount.folder / name), vfs=mount.vfs)
            found[name] = str(db.pragma("integrity_check"))
            db.close()
    log = LogFile(mount.folder / "log" / "log.db", 1 << 40, mount.vfs)
    try:
        log.open()
        log.verify()
        found["chain"] = "ok"
    except ChronosError as error:
        found["chain"] = str(error)
    finally:
        log.close()
    return found


def read_revisions(evidence: Evidence) -> None:
    for entry in evidence.entries:
        for change in entry.changes:
            for (table, key), value in change.puts.items():
                if table == REVISIONS.name and value is not None:
                    evidence.revisions.setdefault(value.job.id, []).append(value.job)
                elif table == JOBS.name and value is None:
                    evidence.deleted[key] = entry.time_us


async def replayed(world: World, applied: int) -> str:
    """Fold the log once more, from nothing, in memory; return the state's digest."""
    state = MemoryState()
    for index, data in enumerate(world.ledger.entries[:applied], start=1):
        entry = decode_entry(data)
        state.commit(fold_entry(apply, state, entry.commands, At(index, entry.time_us)), index, entry.time_us)
    return await state.digest()
