from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.store.exports import Export, collected
from tests.unit.store.keepers import DAY_S, START_S, Kept, kept, run, skipped

from chronos.errors import Invalid
from chronos.model.execution import Status
from chronos.store import proof
from chronos.store.commands import DeleteJob, ExpireDead, KeepingRule, PutDocument, ResetClock
from chronos.store.exporting import Exporter, Wanted
from chronos.store.retention import RetentionSettings
from chronos.testing import virtual_time
from chronos.timing.duration import DAY_US


def exporter(store: Kept) -> Exporter:
    return Exporter(store.state, bytes(16), version="0", node="n1")


async def exported(store: Kept, wanted: Wanted | None = None, cursor: str = "") -> Export:
    return Export(await collected(exporter(store).begin(wanted or Wanted(), cursor)))


async def two_days(store: Kept) -> None:
    """Live two days of two namespaces, with a bit of everything; keep house after each."""
    await store.put("J")
    await store.put("K", namespace="team")
    await store.commands.submit([PutDocument("calendars", "default", "holidays", b"{}", "me", replans=True)])
    for day in range(2):
        at = START_S + day * DAY_S
        await store.end(*(run("J", at + n) for n in range(5)), skipped("J", at + 10, at + 20, 3))
        await store.end(*(run("K", at + n, namespace="team") for n in range(4)))
        store.clock.now += DAY_S
        await store.put("any")
        await store.keep()
    await store.commands.submit([ResetClock(START_S + 9 * DAY_S, "me")])
    await store.end(run("J", START_S + 3 * DAY_S))


@virtual_time
async def test_a_whole_export_holds_every_record_and_verifies(tmp_path: Path) -> None:
    async with kept(tmp_path) as store:
        await two_days(store)
        export = await exported(store)
        export.verify()
        assert export.records() == {proof.record_line(record) for record in (await store.records()).values()}
        assert len(export.of("revision")) == 3
        assert len(export.of("document")) == len(export.of("reset")) == 1
        assert [line["name"] for line in export.of("zone")] == ["UTC"]
        assert [line["sealed"] for line in export.of("segment")] == [True, True, False]


@virtual_time
@pytest.mark.parametrize("pieces_before", range(18))
async def test_what_ends_while_an_export_is_written_is_in_it(tmp_path: Path, pieces_before: int) -> None:
    async with kept(tmp_path) as store:
        await two_days(store)
        late = run("J", START_S + 3 * DAY_S + 7)
        await store.begin(replace(late, status=Status.RUNNING, ended_at_us=0))
        pieces = exporter(store).begin(Wanted())
        text = b"".join([await anext(pieces) for _ in range(pieces_before)])
        await store.end(late)
        export = Export(text + await collected(pieces))
        export.verify()
        found = [line["data"]["id"] for line in export.of("execution", "open")]
        assert found.count(late.id) == 1


@virtual_time
async def test_what_is_decided_while_an_export_is_written_is_not_in_it(tmp_path: Path) -> None:
    async with kept(tmp_path) as store:
        await two_days(store)
        pieces = exporter(store).begin(Wanted())
        text = await anext(pieces)
        store.clock.now += 8 * DAY_S
        later = int(store.clock.now)
        await store.end(run("J", later))
        await store.begin(replace(run("J", later + 1), status=Status.RUNNING, ended_at_us=0))
        export = Export(text + await collected(pieces))
        export.verify()
        assert not [line for line in export.of("execution", "open") if line["data"]["scheduled_s"] >= later]


@virtual_time
async def test_what_is_sealed_while_an_export_is_written_does_not_break_its_proof(tmp_path: Path) -> None:
    async with kept(tmp_path) as store:
        await two_days(store)
        pieces = exporter(store).begin(Wanted())
        text = await anext(pieces)
        store.clock.now += DAY_S
        await store.put("any")
        await store.keep()
        Export(text + await collected(pieces)).verify()


@virtual_time
@pytest.mark.parametrize("kind", ["execution", "range", "seal", "revision", "document", "reset", "segment"])
async def test_what_is_changed_or_left_out_does_not_verify(tmp_path: Path, kind: str) -> None:
    async with kept(tmp_path) as store:
        await two_days(store)
        text = await collected(exporter(store).begin(Wanted()))
        lines = text.splitlines()
        place = next(n for n, line in enumerate(lines) if line.startswith(b'{"type":"%s"' % kind.encode()))
        for changed in ([], [lines[place].replace(b'"data":{', b'"data":{"x":1,')] if kind != "segment" else []):
            export = Export(b"\n".join([*lines[:place], *changed, *lines[place + 1 :]]))
            export.lines[-1]["lines"] = len(export.lines) - 1
            with pytest.raises((AssertionError, KeyError)):
                export.verify()


@virtual_time
async def test_a_time_range_leaves_hashes_for_what_lies_outside_and_still_verifies(tmp_path: Path) -> None:
    async with kept(tmp_path) as store:
        await two_days(store)
        export = await exported(store, Wanted(since_s=START_S + 2, until_s=START_S + 15))
        assert len(export.of("segment")) == 1
        assert len(export.of("execution")) == 5
        assert len(export.of("range")) == 1
        assert {line["why"] for line in export.of("leaf")} == {"outside"}
        # Segments outside are left out without a word; those that are here are what was sealed.
        export._verify_segments({line["segment"]: line["data"] for line in export.of("seal") if line["segment"] == 1})


@virtual_time
async def test_a_namespace_sees_nothing_of_another_but_hashes(tmp_path: Path) -> None:
    async with kept(tmp_path) as store:
        await two_days(store)
        wanted = Wanted(namespace="team")
        text = await collected(exporter(store).begin(wanted))
        export = Export(text)
        export.verify()
        assert len(export.records()) == 8
        assert b'"J"' not in text
        assert {(line["why"], line["id"]) for line in export.of("leaf")} == {("elsewhere", "")}
        plain = await exported(store, Wanted(namespace="team", proof=False))
        assert {line["type"] for line in plain.lines} == {"header", "execution", "mark", "end"}
        assert plain.records() == export.records()


@virtual_time
async def test_an_export_that_broke_off_goes_on_behind_its_last_mark(tmp_path: Path) -> None:
    async with kept(tmp_path, rows=10_000) as store:
        await store.end(*(run("J", START_S + n) for n in range(2_500)))
        store.clock.now += DAY_S
        await store.put("any")
        await store.keep()
        await store.end(run("J", START_S + DAY_S))
        whole = await exported(store)
        whole.verify()
        marks = [number for number, line in enumerate(whole.lines) if line["type"] == "mark"]
        assert len(marks) == 4
        for number in marks:
            rest = await exported(store, cursor=whole.lines[number]["cursor"])
            assert rest.lines[0]["resumed"] == whole.lines[number]["cursor"]
            assert rest.lines[1:-1] == whole.lines[number + 1 : -1]
        with pytest.raises(Invalid):
            exporter(store).begin(Wanted(namespace="team"), whole.lines[marks[0]]["cursor"])


@virtual_time
async def test_what_retention_has_taken_is_told_and_the_rest_verifies(tmp_path: Path) -> None:
    retention = RetentionSettings(default_us=DAY_US, namespaces={"team": KeepingRule("30d", 3)})
    async with kept(tmp_path, retention=retention) as store:
        await store.keep()
        await store.put("K", namespace="team")
        for day in range(4):
            at = START_S + day * DAY_S
            await store.end(run("J", at), run("K", at, namespace="team"), run("K", at + 1, namespace="team"))
            store.clock.now += DAY_S
            await store.put("any")
            await store.keep()
        export = await exported(store)
        export.verify()
        assert {line["whole"] for line in export.of("drop")} == {True, False}
        assert len([line for line in export.of("leaf") if line["why"] == "dropped"]) == 5


@virtual_time
async def test_the_chain_of_changes_can_be_followed_past_a_job_that_is_forgotten(tmp_path: Path) -> None:
    async with kept(tmp_path) as store:
        await store.put("J")
        await store.put("gone")
        await store.put("gone", retention="7d")
        await store.commands.submit([DeleteJob("gone", "me")])
        await store.put("J", max_count=7)
        await store.commands.submit([ExpireDead(0, forgotten_us=store.state.time_us + 1)])
        export = await exported(store)
        export.verify()
        assert len(export.of("forgotten")) == 3
        assert len(export.of("deletion")) == 0


@virtual_time
async def test_memory_is_bounded_by_a_few_hundred_rows(tmp_path: Path) -> None:
    async with kept(tmp_path, rows=100_000) as store:
        await store.commands.submit([ResetClock(START_S + DAY_S, "me")])
        await store.end(*(run("J", START_S + n) for n in range(5_000)))
        pieces = [piece async for piece in exporter(store).begin(Wanted())]
        assert max(map(len, pieces)) < 100 * 1_000
        assert sum(map(len, pieces)) > 5_000 * 200
