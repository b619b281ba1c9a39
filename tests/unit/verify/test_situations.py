"""What happens to jobs, and what verification makes of it: nothing wrong, and the right numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.verify.exporting import ended, segment_lines
from tests.unit.verify.small import Server, a_small_export, a_spec, begin_s
from tests.unit.verify.tampering import row_key

from chronos.model.job import MissedRunPolicy
from chronos.store.commands import Redrive, ResetClock
from chronos.store.exported import encode_line
from chronos.timing.calendar import Shift
from chronos.verify.report import Report, Wrong
from chronos.verify.rows import Rows
from chronos.verify.verifying import Question, verify

HOUR = 3_600
DAY = 86_400


def judged(folder: Path, lines: list[bytes], **question: Any) -> Report:
    path = folder / "export.ndjson"
    path.write_bytes(b"".join(lines))
    return verify([path], Question(**question))


def good(folder: Path, server: Server) -> Report:
    report = judged(folder, server.exporter.lines())
    assert report.problems == []
    return report


def kinds(report: Report) -> set[str]:
    return set(report.kinds)


def test_a_pause_is_a_range_and_one_that_lasts_is_waited_for(tmp_path: Path) -> None:
    server = Server()
    server.put("J", a_spec("j", "* * * * *"))
    server.run_to(begin_s() + HOUR)
    server.pause("J")
    server.run_to(begin_s() + 2 * HOUR)
    server.resume("J")
    server.run_to(begin_s() + 3 * HOUR)
    server.pause("J")
    server.run_to(begin_s() + 4 * HOUR)
    counts = good(tmp_path, server).counts
    assert (counts.planned, counts.skipped["paused"], counts.in_pause) == (180, 60, 60)


def test_a_job_that_was_deleted_in_a_pause_owes_nothing_more(tmp_path: Path) -> None:
    server = Server()
    server.put("J", a_spec("j", "* * * * *"))
    server.pause("J")
    server.run_to(begin_s() + HOUR)
    server.delete("J")
    server.run_to(begin_s() + 2 * HOUR)
    counts = good(tmp_path, server).counts
    assert (counts.planned, counts.skipped["paused"]) == (60, 60)


@pytest.mark.parametrize(
    ("policy", "skipped"),
    [
        (MissedRunPolicy.EXECUTE_ONE, {"coalesced": 717, "expired": 60}),
        (MissedRunPolicy.EXECUTE_ALL, {"misfire": 618, "expired": 60}),
        (MissedRunPolicy.IGNORE, {"misfire": 718, "expired": 60}),
    ],
)
def test_an_outage_is_accounted_for_under_each_policy(
    tmp_path: Path, policy: MissedRunPolicy, skipped: dict[str, int]
) -> None:
    server = Server()
    server.put("J", a_spec("j", "* * * * *", missed_run_policy=policy, catchup_window="12h"))
    server.sleep_to(begin_s() + 13 * HOUR)
    counts = good(tmp_path, server).counts
    assert (counts.planned, dict(counts.skipped)) == (780, skipped)


def test_an_edit_changes_what_is_owed_from_then_on(tmp_path: Path) -> None:
    server = Server()
    server.put("J", a_spec("j", "* * * * *"))
    server.run_to(begin_s() + HOUR)
    server.put("J", a_spec("j", "*/10 * * * *", "*/15 * * * *", jitter="5s"))
    server.run_to(begin_s() + 2 * HOUR)
    assert good(tmp_path, server).counts.planned == 60 + 8


def test_what_a_calendar_leaves_out_is_in_range_records_by_the_version_of_its_time(tmp_path: Path) -> None:
    server = Server()
    server.put_calendar("c", b'{"blackouts": [{"from": "09:00", "to": "10:00"}]}')
    server.put("J", a_spec("j", "*/5 * * * *", calendar="c"))
    server.put("K", a_spec("k", "30 9 * * *", calendar="c", shift=Shift.NEXT))
    server.run_to(begin_s() + int(1.5 * HOUR))
    server.put_calendar("c", b'{"exclude_weekends": true}')
    server.run_to(begin_s() + 3 * HOUR)
    server.put_calendar("c", None)
    server.run_to(begin_s() + 4 * HOUR)
    counts = good(tmp_path, server).counts
    assert counts.planned == 36 + 1
    assert counts.skipped["blackout"] == 7 + 1


def test_a_change_of_the_clocks_owes_what_the_documentation_says(tmp_path: Path) -> None:
    server = Server()
    spring = int(datetime(2027, 3, 14, 5, tzinfo=UTC).timestamp())
    server.sleep_to(spring)
    server.put("J", a_spec("fixed", "30 2 * * *", timezone="America/New_York"))
    server.put("K", a_spec("wild", "*/15 * * * *", timezone="America/New_York"))
    for _ in range(12):
        server.sleep_to(server.now_s + 2 * HOUR)
    report = good(tmp_path, server)
    assert {counts.job: counts.planned for counts in report.jobs.values()} == {"default/fixed": 1, "default/wild": 96}


def test_a_redrive_is_a_second_row_of_one_record(tmp_path: Path) -> None:
    server = Server()
    server.put("J", a_spec("j", "* * * * *"))
    server.run_to(begin_s() + HOUR)
    failed = next(each for each in server.exporter.ended if each.status == "failed")
    server.do(Redrive([failed.id], "ann"))
    server.run_to(begin_s() + 2 * HOUR)
    assert good(tmp_path, server).counts.planned == 120


def test_instants_that_the_clock_was_set_back_over_need_one_record_at_least(tmp_path: Path) -> None:
    server = Server()
    server.put("J", a_spec("j", "* * * * *"))
    server.run_to(begin_s() + 2 * HOUR)
    server.do(ResetClock(begin_s() + HOUR, "ann"))
    server.run_to(begin_s() + 3 * HOUR)
    report = good(tmp_path, server)
    assert report.counts.planned == 180
    assert "restore epoch" in report.notes[-1]


def test_instants_that_the_clock_was_set_forward_over_need_none(tmp_path: Path) -> None:
    server = Server()
    server.put("J", a_spec("j", "* * * * *"))
    server.run_to(begin_s() + HOUR)
    server.do(ResetClock(begin_s() + 2 * HOUR, "ann"))
    server.now_s = begin_s() + 2 * HOUR
    server.run_to(begin_s() + 3 * HOUR)
    assert good(tmp_path, server).counts.planned == 120


def test_an_execution_that_has_not_ended_is_open(tmp_path: Path) -> None:
    server = Server()
    server.put("J", a_spec("j", "0 * * * *"))
    server.finish = lambda execution: None  # type: ignore[method-assign]
    server.run_to(begin_s() + 2 * HOUR)
    assert good(tmp_path, server).counts.ended == {"open": 2}


def test_an_instant_that_was_never_decided_is_missing_although_every_seal_fits(tmp_path: Path) -> None:
    server = Server()
    server.put("J", a_spec("j", "* * * * *"))
    server.run_to(begin_s() + HOUR)
    plans = server.plans
    server.plans = lambda: iter(())  # type: ignore[method-assign]
    server.run_to(begin_s() + HOUR + 180)
    server.plans = plans  # type: ignore[method-assign]
    server.run_to(begin_s() + 2 * HOUR)
    server.exporter.seal()
    report = judged(tmp_path, server.exporter.lines())
    assert kinds(report) == {Wrong.INSTANT_MISSING.value}
    assert [problem.instant_s for problem in report.problems] == [begin_s() + HOUR + n * 60 for n in (1, 2, 3)]


def test_what_retention_took_whole_is_gone_and_more_than_that_is_missing(tmp_path: Path) -> None:
    server = Server()
    server.put("J", a_spec("j", "* * * * *"))
    server.run_to(begin_s() + 2 * HOUR)
    lines = server.exporter.lines()[:-1]
    drop = b'{"type":"drop","format":1,"segment":1,"rows":30,"whole":true,"why":"old","time_us":1}\n'
    kept = [line for line in lines if msgspec.json.decode(line).get("segment") != 1 or b'"type":"seal"' in line]
    report = judged(tmp_path, ended([*kept, drop]))
    assert (report.problems, report.counts.gone, report.counts.planned) == ([], 30, 120)
    assert kinds(judged(tmp_path, ended(kept))) >= {Wrong.SEGMENT_MISSING.value, Wrong.INSTANT_MISSING.value}


def test_rows_of_which_only_the_hash_is_left_account_for_their_instants(tmp_path: Path) -> None:
    lines = [msgspec.json.decode(line) for line in a_small_export()[:-1]]
    for said in lines:
        if said["type"] in ("execution", "range") and said["segment"] == 2:
            data = said.pop("data")
            said.update(type="leaf", id=row_key({"type": said["type"], "data": data})[0], why="outside")
    report = judged(tmp_path, ended([msgspec.json.encode(said) + b"\n" for said in lines]))
    assert (report.problems, report.counts.gone > 10, report.counts.planned) == ([], True, 120)


def test_an_export_in_two_parts_is_one_and_with_a_part_missing_it_is_cut_off(tmp_path: Path) -> None:
    lines = a_small_export()[:-1]
    mark = b'{"type":"mark","format":1,"cursor":"c1"}\n'
    header = msgspec.json.decode(lines[0])
    second = ended([msgspec.json.encode({**header, "resumed": "c1"}) + b"\n", *lines[60:]])
    first, rest = tmp_path / "1", tmp_path / "2"
    first.write_bytes(b"".join([*lines[:60], mark]))
    rest.write_bytes(b"".join(second))
    assert verify([first, rest]).problems == []
    assert Wrong.CUT_OFF.value in kinds(verify([first]))
    assert Wrong.CUT_OFF.value in kinds(verify([rest]))


def test_zone_rules_that_claim_to_be_of_this_release_and_are_not_are_a_problem(tmp_path: Path) -> None:
    from chronos.verify.zones import packaged, tzdata_version

    server = Server()
    server.put("J", a_spec("j", "0 * * * *", timezone="Europe/Paris"))
    server.run_to(begin_s() + HOUR)
    lines = server.exporter.lines()[:-1]
    for claimed, expected in ((tzdata_version(), {Wrong.ZONE_DIFFERS.value}), ("2020a", set())):
        zone = {"type": "zone", "format": 1, "name": "Europe/Paris", "tzdata": claimed, "tzif": packaged("Asia/Tokyo")}
        report = judged(tmp_path, ended([*lines, msgspec.json.encode(zone) + b"\n"]))
        assert kinds(report) == expected
        assert expected or any("differ for Europe/Paris" in note for note in report.notes)


def test_a_definition_that_cannot_be_understood_is_named_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    server = Server()
    server.put("J", a_spec("j", "0 * * * *"))
    server.put("K", a_spec("k", "0 * * * *"))
    server.run_to(begin_s() + 3 * HOUR)
    understood, made_up = (b'"name":"k","schedules":["0 * * %s"]' % rest for rest in (b"* *", b"*"))
    lines = [line.replace(understood, made_up) for line in server.exporter.lines()[:-1]]
    report = judged(tmp_path, ended(lines))
    assert Wrong.NOT_UNDERSTOOD.value in kinds(report)
    assert report.jobs["J"].planned == 3


def given_out(rows: Rows, to_s: int) -> int:
    plain = [part for parts in rows.plain_up_to(to_s).values() for part in parts]
    return len(list(rows.up_to(to_s))) + sum(len(part.instants) for part in plain)


def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    """Rows are given out stretch by stretch: never more than a stretch of them at a time."""
    from chronos.verify.reading import read

    server = Server(rows_max=100)
    server.put("J", a_spec("j", "* * * * *"))
    for _ in range(10):
        server.run_to(server.now_s + int(timedelta(hours=1).total_seconds()))
    path = tmp_path / "export.ndjson"
    path.write_bytes(b"".join(server.exporter.lines()))
    export = read([path], Report(), lambda what, share: None)
    with Rows(export) as rows:
        counts = [given_out(rows, begin_s() + n * HOUR) for n in range(11)]
        assert counts == [0] + [60] * 10
        assert rows.next_s is None


def test_a_deleted_job_whose_newest_definitions_are_forgotten_is_not_accused(tmp_path: Path) -> None:
    server = Server()
    server.put("J", a_spec("j", "* * * * *"))
    server.run_to(begin_s() + HOUR)
    server.put("J", a_spec("j", "*/10 * * * *"))
    server.run_to(begin_s() + 2 * HOUR)
    server.delete("J")
    lines = []
    for line in server.exporter.lines()[:-1]:
        said = msgspec.json.decode(line)
        if said["type"] == "revision" and said["data"]["job"]["revision"] == 2:
            line = (
                msgspec.json.encode({"type": "forgotten", "format": 1, "seq": said["seq"], "leaf": said["leaf"]})
                + b"\n"
            )
        lines.append(line)
    report = judged(tmp_path, ended(lines))
    assert report.problems == []


def test_a_row_that_stands_in_two_segments_is_one_and_another_row_of_its_instant_is_not(tmp_path: Path) -> None:
    server = Server(rows_max=1_000)
    server.put("J", a_spec("j", "* * * * *"))
    server.run_to(begin_s() + HOUR)
    rows = [row for row in server.exporter.ended if row.status == "success"]
    late = replace(rows[0], ended_at_us=rows[0].ended_at_us + 1)
    for second, expected in ((rows[0], set()), (late, {Wrong.INSTANT_TWICE.value})):
        lines = [encode_line(line) + b"\n" for line in segment_lines(7, [second, *rows[1:3]], sealed=False)]
        report = judged(tmp_path, ended([*server.exporter.lines()[:-1], *lines]))
        assert kinds(report) == expected
        assert report.counts.planned == 60


def test_an_execution_after_the_mark_is_named(tmp_path: Path) -> None:
    server = Server()
    server.put("J", a_spec("j", "* * * * *"))
    server.run_to(begin_s() + HOUR)
    lines = server.exporter.lines()[:-1]
    header = msgspec.json.decode(lines[0]) | {"hwm_s": begin_s() + HOUR - 120}
    report = judged(tmp_path, ended([msgspec.json.encode(header) + b"\n", *lines[1:]]))
    assert kinds(report) == {Wrong.INSTANT_NOT_OWED.value}
    assert [problem.instant_s for problem in report.problems] == [begin_s() + HOUR - 60, begin_s() + HOUR]
    assert all(problem.job == "default/j" for problem in report.problems)
