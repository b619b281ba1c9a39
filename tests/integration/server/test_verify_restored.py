"""Copies that were brought back and served on: what they export is verified, with the seals of the original."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.dose import PROOF
from tests.integration.server.living import Living, a_node, until
from tests.integration.server.shop import BEGIN_S, HandClock, Shop, a_shop, judged, stocked
from tests.integration.server.test_verify import CALENDAR, SMALL, a_job, exported
from tests.unit.verify.exporting import ended

from chronos.server.assemble import Outside
from chronos.server.backup.restoring import Wanted, restore
from chronos.server.backup.saving import Target, save_running
from chronos.server.recovery import rebuild_state
from chronos.store import sealing
from chronos.store.archive import Archive
from chronos.store.commands import Seal, decode_entry
from chronos.store.segment import SegmentInfo
from chronos.store.sqlite import SqliteState
from chronos.timing.clock import Clock, SeededChance, SystemClock
from chronos.verify.report import Report


async def bring_back(backup: Path, folder: Path, clock: Clock, **more: Any) -> None:
    wanted = Wanted(backup=backup, folder=folder, **more)
    await restore(wanted, clock, SeededChance(random.Random(2)))


async def times(shop: Shop) -> list[int]:
    """Return the log time of every entry."""
    first, _ = await shop.log.bounds()
    return [decode_entry(entry.data).time_us async for entry in shop.log.tail(first)]


async def served_on(folder: Path, clock: HandClock, seed: int) -> bytes:
    """Serve on from a folder that was brought back, and return what it exports then."""
    async with a_shop(folder, seed=seed, clock=clock) as shop:
        await shop.catch_up()
        await shop.work(40)
        return await shop.exported()


def good(path: Path, export: bytes, *heads: str) -> Report:
    report = judged(path, export, *heads)
    assert [(p.kind.value, p.what, p.job, (p.instant_s or 0) - BEGIN_S) for p in report.problems] == []
    return report


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(20 if PROOF else 2))
async def test_a_copy_as_of_any_instant_is_verified_with_the_seals_there_were(seed: int, tmp_path: Path) -> None:
    clock, chance = HandClock(), random.Random(seed)
    async with a_shop(tmp_path / "data", seed=seed, clock=clock) as shop:
        await stocked(shop)
        await shop.work(60)
        await shop.back_up(tmp_path / "older")
        await shop.work(40)
        middle = good(tmp_path / "export", await shop.exported())
        middle_us = shop.state.time_us
        await shop.work(60)
        await shop.back_up(tmp_path / "newer")
        instants = await times(shop)
    assert middle.seals > 3
    clock.now += 5_000
    cases: dict[str, dict[str, Any]] = {
        "whole": {"backup": tmp_path / "newer"},
        "refolded": {"backup": tmp_path / "newer", "as_of_us": middle_us},
        "from-base": {"backup": tmp_path / "newer", "as_of_us": middle_us, "base": tmp_path / "older"},
        "anywhere": {"backup": tmp_path / "newer", "as_of_us": chance.choice(instants[30:])},
    }
    for name, wanted in cases.items():
        mine = HandClock(int(clock.now))
        await bring_back(wanted.pop("backup"), tmp_path / name, mine, **wanted)
        export = await served_on(tmp_path / name, mine, seed + 100)
        heads = [] if name == "anywhere" else [middle.head]
        report = good(tmp_path / "export", export, *heads)
        assert report.counts.planned > 100


def without(lines: list[bytes], number: int) -> list[bytes]:
    return lines[:number] + lines[number + 1 :]


def altered(line: bytes, chance: random.Random) -> bytes:
    """Return a line of which one digit of what it says was changed."""
    begin = line.index(b'"data"') + 8
    digits = [at for at in range(begin, len(line)) if line[at : at + 1].isdigit()]
    at = chance.choice(digits)
    return line[:at] + (b"1" if line[at : at + 1] != b"1" else b"2") + line[at + 1 :]


async def a_copy(folder: Path, seed: int) -> bytes:
    """Return what a copy exports that was folded once more, as of an instant before its backup's state."""
    clock = HandClock()
    async with a_shop(folder / "data", seed=seed, clock=clock) as shop:
        await stocked(shop)
        await shop.work(120)
        instants = await times(shop)
        await shop.back_up(folder / "backup")
    await bring_back(folder / "backup", folder / "copy", clock, as_of_us=instants[len(instants) * 3 // 4])
    return await served_on(folder / "copy", clock, seed)


@pytest.mark.asyncio
async def test_a_line_that_was_changed_or_taken_out_of_such_an_export_is_found(tmp_path: Path) -> None:
    chance = random.Random(7)
    export = await a_copy(tmp_path, seed=7)
    good(tmp_path / "export", export)
    lines = export.splitlines(keepends=True)[:-1]
    sealed = {int(line.split(b'"segment":')[1].split(b",")[0]) for line in lines if b'{"type":"seal"' in line}
    rows = [
        number
        for number, line in enumerate(lines)
        if line.startswith((b'{"type":"execution"', b'{"type":"range"'))
        and int(line.split(b'"segment":')[1].split(b",")[0]) in sealed
    ]
    vouching = [n for n, line in enumerate(lines) if line.startswith((b'{"type":"seal"', b'{"type":"revision"'))]
    assert len(sealed) > 3
    for number in [*chance.sample(rows, 12), *chance.sample(vouching, min(12, len(vouching)))]:
        fewer = judged(tmp_path / "copy.ndjson", b"".join(ended(without(lines, number))))
        assert not fewer.is_verified, lines[number]
        other = [*lines[:number], altered(lines[number], chance), *lines[number + 1 :]]
        assert not judged(tmp_path / "copy.ndjson", b"".join(ended(other))).is_verified, lines[number]


@pytest.mark.asyncio
async def test_state_and_history_that_were_rebuilt_from_the_log_have_the_seals_there_were(tmp_path: Path) -> None:
    clock = HandClock()
    async with a_shop(tmp_path / "data", seed=5, clock=clock) as shop:
        await stocked(shop)
        await shop.work(120)
        before = good(tmp_path / "export", await shop.exported())
    rebuild_state(tmp_path / "data")
    after = good(tmp_path / "export", await served_on(tmp_path / "data", clock, 6), before.head)
    assert after.seals >= before.seals > 3
    assert not after.counts.gone


@pytest.mark.asyncio
async def test_a_seal_that_no_rows_fit_is_said_to_be_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    seal_of = sealing.seal_of

    async def another_root(archive: Archive, info: SegmentInfo) -> Seal | None:
        seal = await seal_of(archive, info)
        return replace(seal, root=bytes(32)) if seal is not None and info.number == 2 else seal

    async with a_shop(tmp_path / "data", seed=5, clock=clock) as shop:
        await stocked(shop)
        monkeypatch.setattr(sealing, "seal_of", another_root)
        await shop.work(120)
        await shop.exported()
    rebuild_state(tmp_path / "data")
    report = good(tmp_path / "export", await served_on(tmp_path / "data", clock, 6))
    assert any("records of segment 2 were made anew" in note for note in report.notes)
    assert report.seals > 3


async def backed_up(living: Living, path: Path) -> None:
    pieces = [piece async for piece in await living.node.truth.backups.stream()]
    save_running(pieces, Target(path, SeededChance(random.Random(1))), keys_from=None)


@pytest.mark.asyncio
async def test_a_whole_server_is_brought_back_to_an_instant_and_verified_after_serving_on(tmp_path: Path) -> None:
    outside = Outside(state=partial(SqliteState, settings=SMALL))

    async def has_segments(living: Living, count: int) -> None:
        async def enough() -> bool:
            await living.node.truth.state.flush()
            await living.node.drive.keeping.sealing.turn()
            return len(living.node.truth.state.archive.infos) > count

        await until(enough)

    async with a_node(tmp_path / "data", outside) as living:
        assert (await living.call("PUT", "/api/v1/calendars/closed", CALENDAR)).status_code in (200, 201)
        for name, more in (("every-second", {}), ("closed", {"calendar": "closed"})):
            assert (await living.call("POST", "/api/v1/jobs", a_job(name, **more))).status_code == 201
        await has_segments(living, 1)
        middle = await exported(living, tmp_path / "middle.ndjson")
        as_of_us = living.node.truth.state.time_us
        await has_segments(living, 2)
        await backed_up(living, tmp_path / "backup")
    head = good(tmp_path / "export", middle.read_bytes()).head
    await bring_back(tmp_path / "backup", tmp_path / "copy", SystemClock(), as_of_us=as_of_us)
    async with a_node(tmp_path / "copy", outside) as living:
        assert (await living.call("POST", "/api/v1/jobs", a_job("later"))).status_code == 201
        await has_segments(living, 2)
        export = await exported(living, tmp_path / "later.ndjson")
    report = good(tmp_path / "export", export.read_bytes(), head)
    assert report.counts.skipped["blackout"] > 2
    assert any(note.startswith("A backup was restored") for note in report.notes)
