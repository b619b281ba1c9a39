from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.executions import an_execution

from chronos.errors import Invalid
from chronos.model.execution import Execution, RangeRecord, SkipReason, Status
from chronos.model.job import Job, JobSpec, Pause
from chronos.model.target import HttpTarget
from chronos.store.cursors import Cursors
from chronos.store.port import Changes, Result
from chronos.store.queries import ALL, Page, Queries
from chronos.store.state import MemoryState
from chronos.store.tables import (
    DEAD,
    DOCUMENTS,
    JOBS,
    META,
    NAMES,
    OPEN,
    REVISIONS,
    Document,
    Meta,
    Name,
    Revision,
    document_key,
    revision_key,
)

T = TypeVar("T")
KEY = b"a key for tests, and long enough"


def a_job(job_id: str, name: str, namespace: str = "default", **more: Any) -> Job:
    spec = JobSpec(name=name, namespace=namespace, target=HttpTarget(url="http://localhost/"), schedules=["* * * * *"])
    paused = more.pop("paused", None)
    spec = replace(spec, **more)
    return Job(id=job_id, spec=spec, revision=1, created_at_us=0, updated_at_us=0, paused=paused)


def queries(*changes: Changes) -> Queries:
    state = MemoryState()
    state.commit(changes, 1, 1)
    return Queries(state, KEY)


def jobs(*all_of_them: Job) -> Changes:
    changes = Changes(Result())
    for job in all_of_them:
        changes.puts[JOBS.name, job.id] = job
        changes.puts[NAMES.name, f"{job.namespace}/{job.name}"] = Name(job.id)
    return changes


async def collected(ask: Callable[[str], Awaitable[Page[T]]]) -> list[T]:
    """Return the items of all pages, one page after the other."""
    page = await ask("")
    items = list(page.items)
    while page.cursor:
        page = await ask(page.cursor)
        items += page.items
    return items


def test_jobs_come_in_the_order_of_their_names_with_how_many_there_are() -> None:
    asked = queries(jobs(a_job("J1", "beta"), a_job("J2", "alpha"), a_job("J3", "alpha", "other")))
    page = asyncio.run(asked.jobs(ALL, limit=2))
    assert [job.id for job in page.items] == ["J2", "J3"]
    assert page.total == 3
    assert [job.id for job in asyncio.run(asked.jobs("default")).items] == ["J2", "J1"]


def test_jobs_are_narrowed_by_tags_state_and_text() -> None:
    asked = queries(
        jobs(
            a_job("J1", "backup", tags={"team": "a", "env": "prod"}),
            a_job("J2", "report", tags={"team": "a"}, description="nightly BACKUP check"),
            a_job("J3", "other", tags={"team": "b"}, paused=Pause()),
        )
    )

    def found(**wanted: Any) -> list[str]:
        return [job.id for job in asyncio.run(asked.jobs("default", **wanted)).items]

    assert found(tags={"team": "a"}) == ["J1", "J2"]
    assert found(tags={"team": "a", "env": "prod"}) == ["J1"]
    assert found(enabled=False) == ["J3"]
    assert found(text="backup") == ["J1", "J2"]


@given(st.integers(1, 30), st.integers(1, 8))
def test_pages_of_jobs_put_together_are_all_jobs_once(count: int, limit: int) -> None:
    asked = queries(jobs(*(a_job(f"J{n}", f"name {n % 4}", f"ns{n}") for n in range(count))))
    found = asyncio.run(collected(lambda cursor: asked.jobs(ALL, cursor=cursor, limit=limit)))
    assert sorted(job.id for job in found) == sorted(f"J{n}" for n in range(count))
    assert [(job.name, job.id) for job in found] == sorted((job.name, job.id) for job in found)


@given(st.integers(0, 30), st.integers(1, 8))
def test_pages_of_executions_put_together_are_all_executions_once(count: int, limit: int) -> None:
    ended = [an_execution(f"J{n % 3}", n // 2) for n in range(count)]
    running = [an_execution("J9", n, Status.RUNNING) for n in range(count // 3)]
    asked = queries(Changes(Result(), {(OPEN.name, e.id): e for e in running}, ended=ended))
    found = asyncio.run(collected(lambda cursor: asked.executions("default", cursor=cursor, limit=limit)))
    assert sorted(map(str, found)) == sorted(map(str, [*ended, *running]))


def test_jobs_are_found_by_name_by_id_and_by_the_beginning_of_an_id() -> None:
    asked = queries(jobs(a_job("AA1", "one"), a_job("AA2", "two"), a_job("AB1", "three", "other")))
    assert asked.job("AA2") == asked.job_by_name("default", "two")
    assert asked.job_by_name("other", "two") is None
    assert [job.id for job in asked.jobs_by_prefix("AA", "default")] == ["AA1", "AA2"]
    assert [job.id for job in asked.jobs_by_prefix("A", "other")] == ["AB1"]
    assert [job.id for job in asked.jobs_by_prefix("A", ALL, limit=9)] == ["AA1", "AA2", "AB1"]
    assert [job.id for job in asked.all_jobs()] == ["AA1", "AA2", "AB1"]


def test_revisions_come_newest_first_and_one_by_one() -> None:
    job = a_job("J1", "one")
    puts: dict[tuple[str, str], Any] = {
        (REVISIONS.name, revision_key(job_id, n)): Revision(replace(job, revision=n), comment=f"{job_id} {n}")
        for job_id in ("J1", "J10")
        for n in range(1, 13)
    }
    asked = queries(Changes(Result(), puts))
    page = asked.revisions("J1", limit=5)
    assert [revision.job.revision for revision in page.items] == [12, 11, 10, 9, 8]
    rest = asked.revisions("J1", cursor=page.cursor, limit=50)
    assert [revision.job.revision for revision in rest.items] == [7, 6, 5, 4, 3, 2, 1]
    assert not rest.cursor
    found = asked.revision("J1", 4)
    assert found is not None
    assert found.comment == "J1 4"
    assert asked.revision("J1", 13) is None


def test_an_execution_is_found_wherever_it_is() -> None:
    running, dead, ended = (an_execution("J1", n) for n in (1, 2, 3))
    puts = {(OPEN.name, running.id): running, (DEAD.name, dead.id): dead}
    asked = queries(Changes(Result(), puts, ended=[dead, ended]))
    for execution in (running, dead, ended):
        assert asyncio.run(asked.execution(execution.id)) == execution
    assert asyncio.run(asked.execution(an_execution("J2", 1).id)) is None
    assert asyncio.run(asked.execution("nonsense")) is None


def test_an_instant_that_was_skipped_is_answered_with_the_range_it_lies_in() -> None:
    skipped = RangeRecord("J1", "default", 60, 300, 5, SkipReason.PAUSED)
    other = RangeRecord("J2", "default", 0, 600, 11, SkipReason.PAUSED)
    asked = queries(Changes(Result(), ranges=[skipped, other]))
    assert asyncio.run(asked.execution(an_execution("J1", 120).id)) == skipped
    assert asyncio.run(asked.execution(an_execution("J2", 120).id)) == other
    assert asyncio.run(asked.execution(an_execution("J1", 360).id)) is None


def test_dead_letters_come_latest_due_first_page_by_page() -> None:
    dead = [an_execution("J1", n, Status.FAILED, namespace=("a", "b")[n % 2]) for n in range(10)]
    asked = queries(Changes(Result(), {(DEAD.name, e.id): e for e in dead}))

    async def ask(cursor: str) -> Page[Execution]:
        return asked.dead_letters("a", cursor=cursor, limit=2)

    assert [e.scheduled_s for e in asyncio.run(collected(ask))] == [8, 6, 4, 2, 0]
    assert len(asked.dead_letters(ALL).items) == 10
    assert asked.dead_letters(ALL, job_id="J2").items == []


def test_documents_of_one_prefix_and_namespace_do_not_show_those_of_another() -> None:
    names = [("p", "a", "1"), ("p", "a", "2"), ("p", "ab", "1"), ("pp", "a", "1")]
    asked = queries(Changes(Result(), {(DOCUMENTS.name, document_key(*name)): Document(b"", 1, 0) for name in names}))
    assert [key for key, _ in asked.documents("p", "a").items] == ["p/a/1", "p/a/2"]
    page = asked.documents("p", ALL, limit=2)
    assert [key for key, _ in page.items] == ["p/a/1", "p/a/2"]
    assert [key for key, _ in asked.documents("p", ALL, cursor=page.cursor).items] == ["p/ab/1"]


def test_counts_tell_jobs_dead_letters_and_what_is_open() -> None:
    running = [an_execution("J1", n, (Status.RUNNING, Status.PENDING)[n % 2]) for n in range(5)]
    puts: dict[tuple[str, str], Any] = {(OPEN.name, e.id): e for e in running}
    puts[META.name, "meta"] = Meta(jobs=7, jobs_enabled=6, dead=2)
    counts = queries(Changes(Result(), puts)).counts()
    assert (counts.jobs, counts.jobs_enabled, counts.dead) == (7, 6, 2)
    assert counts.open == {Status.RUNNING: 3, Status.PENDING: 2}


def test_a_cursor_of_another_listing_is_refused() -> None:
    asked = queries(jobs(a_job("J1", "a"), a_job("J2", "b")))
    cursor = asyncio.run(asked.jobs("default", limit=1)).cursor
    assert cursor
    for wrong in (asked.jobs(ALL, cursor=cursor), asked.jobs("default", text="a", cursor=cursor)):
        with pytest.raises(Invalid, match="does not belong"):
            asyncio.run(wrong)
    with pytest.raises(Invalid):
        asyncio.run(asked.executions("default", cursor=cursor))


@given(st.lists(st.integers(-(1 << 60), 1 << 60) | st.text(max_size=20), max_size=3), st.data())
def test_a_cursor_says_where_it_was_made_and_nothing_else_is_taken_for_one(
    position: list[int | str], data: st.DataObject
) -> None:
    cursors = Cursors(KEY)
    cursor = cursors.write("jobs", position)
    assert cursors.read("jobs", cursor) == position
    at = data.draw(st.integers(0, len(cursor) - 1))
    letter = data.draw(st.characters(codec="ascii"))
    changed = cursor[:at] + letter + cursor[at + 1 :]
    for wrong in {changed, cursor[:-1], cursor + "A", cursor + "="} - {cursor}:
        with pytest.raises(Invalid):
            cursors.read("jobs", wrong)
    with pytest.raises(Invalid):
        Cursors(b"another key, as long as the other").read("jobs", cursor)


@given(st.text())
def test_no_text_at_all_breaks_the_reading_of_cursors(text: str) -> None:
    with pytest.raises(Invalid):
        Cursors(KEY).read("jobs", text)
