from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.features.fake_host import FakeHost, a_job

from chronos.errors import Invalid, JobNotFound, RevisionNotFound, Unprocessable, VersionConflict
from chronos.features.versions import install
from chronos.features.versions.model import (
    ChangeKind,
    Diff,
    DiffFormat,
    DiffQuery,
    ListQuery,
    RolledBack,
    Settings,
    Version,
    VersionPage,
)
from chronos.model.job import Pause
from chronos.plugin import Place

JOB = "/api/v1/jobs/{job}"


def a_host(revisions: int = 3, **last: Any) -> FakeHost:
    """Return a host with a job whose n-th version runs at n o'clock."""
    host = FakeHost()
    for n in range(1, revisions + 1):
        job = a_job(revision=n, schedule=f"0 {n} * * *", enabled=True, tags={"n": str(n)})
        host.job_service.add(replace(job, **last) if n == revisions else job, f"comment {n}")
    install(host, Settings())
    return host


async def page(host: FakeHost, ref: str = "nightly", **query: Any) -> VersionPage:
    reply = await host.call("GET", f"{JOB}/versions", path_values={"job": ref}, query=ListQuery(**query))
    assert isinstance(reply.value, VersionPage)
    return reply.value


async def rollback(host: FakeHost, version: str, **how: Any) -> RolledBack:
    reply = await host.call(
        "POST", JOB + "/rollback/{version}", path_values={"job": "nightly", "version": version}, **how
    )
    assert isinstance(reply.value, RolledBack)
    assert reply.headers["ETag"] == f'"{reply.value.new_version}"'
    return reply.value


async def diff(host: FakeHost, **query: Any) -> Diff:
    reply = await host.call("GET", JOB + "/versions/diff", path_values={"job": "nightly"}, query=DiffQuery(**query))
    assert isinstance(reply.value, Diff)
    return reply.value


@pytest.mark.asyncio
async def test_versions_are_listed_newest_first_by_number_and_not_by_letter() -> None:
    listed = await page(a_host(11))
    assert [v.version for v in listed.versions] == list(range(11, 0, -1))
    assert [v.current for v in listed.versions] == [True] + [False] * 10
    assert listed.versions[0].comment == "comment 11"
    assert listed.versions[0].fields_changed == ["schedules", "tags.n"]
    assert listed.versions[-1].fields_changed == []


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 10, 11])
async def test_pages_put_together_are_the_whole_list(limit: int) -> None:
    host, seen, cursor = a_host(7), [], ""
    for _ in range(10):
        listed = await page(host, limit=limit, cursor=cursor)
        assert listed.total == 7
        seen += [v.version for v in listed.versions]
        if listed.next_cursor is None:
            break
        cursor = listed.next_cursor
    assert seen == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.asyncio
async def test_a_cursor_of_somebody_elses_is_refused_and_an_unknown_job_is_not_found() -> None:
    with pytest.raises(Invalid, match="cursor"):
        await page(a_host(), cursor="abc")
    with pytest.raises(JobNotFound):
        await page(a_host(), ref="nobody")


@pytest.mark.asyncio
async def test_a_version_is_shown_as_it_was_without_its_credentials() -> None:
    host = FakeHost()
    secret = {"url": "http://h/", "auth": {"type": "bearer", "token": "sealed:XYZ"}}
    host.job_service.add(a_job(webhook=secret))
    host.job_service.add(a_job(revision=2))
    install(host, Settings())
    reply = await host.call("GET", JOB + "/versions/{version}", path_values={"job": "J1", "version": "1"})
    assert isinstance(reply.value, Version)
    assert not reply.value.current
    assert b"XYZ" not in msgspec.json.encode(reply.value)
    assert b'"token":"***"' in msgspec.json.encode(reply.value)


@pytest.mark.asyncio
@pytest.mark.parametrize("number", ["0", "4", "-1", "abc", "+1", "1_0", "", "²", "9" * 30])
async def test_a_version_that_is_none_is_not_found(number: str) -> None:
    with pytest.raises(RevisionNotFound, match="the newest is 3"):
        await host_version(number)


async def host_version(number: str) -> None:
    await a_host().call("GET", JOB + "/versions/{version}", path_values={"job": "nightly", "version": number})


@pytest.mark.asyncio
async def test_a_diff_compares_the_newest_two_unless_told_otherwise() -> None:
    newest = await diff(a_host())
    assert (newest.from_version, newest.to_version) == (2, 3)
    assert [(c.path, c.old, c.new) for c in newest.changes] == [
        ("schedules", ["0 2 * * *"], ["0 3 * * *"]),
        ("tags.n", "2", "3"),
    ]
    told = await diff(a_host(), from_version=3, to_version=1)
    assert told.changes[0].new == ["0 1 * * *"]
    assert b'"from":3,"to":1' in msgspec.json.encode(told)


@pytest.mark.asyncio
async def test_the_only_version_differs_in_nothing_from_itself() -> None:
    assert (await diff(a_host(1))).changes == []


@pytest.mark.asyncio
async def test_a_diff_can_be_read_as_text() -> None:
    host = a_host()
    query = DiffQuery(format=DiffFormat.TEXT)
    reply = await host.call("GET", JOB + "/versions/diff", path_values={"job": "nightly"}, query=query)
    assert reply.content_type == "text/plain; charset=utf-8"
    assert (reply.text or b"").decode().startswith("v2 → v3\n~ schedules:")


@pytest.mark.asyncio
async def test_a_diff_with_a_version_that_is_none_is_not_found() -> None:
    with pytest.raises(RevisionNotFound):
        await diff(a_host(), from_version=99)


@pytest.mark.asyncio
async def test_a_rollback_writes_the_old_content_as_a_new_version_and_says_so() -> None:
    host = a_host()
    done = await rollback(host, "1")
    assert (done.rolled_back_from, done.rolled_back_to, done.new_version) == (3, 1, 4)
    assert done.job.spec.schedules == ["0 1 * * *"]
    assert done.job.comment == "rolled back from v3 to v1"
    assert done.job.by == "key:ada"
    assert [(c.path, c.kind) for c in done.changes if c.path == "schedules"] == [("schedules", ChangeKind.MODIFIED)]
    assert [v.version for v in (await page(host)).versions] == [4, 3, 2, 1]


@pytest.mark.asyncio
async def test_a_rollback_leaves_a_paused_job_paused() -> None:
    host = a_host(paused=Pause(reason="moving house"))
    await rollback(host, "1")
    job = await host.jobs.get("nightly", namespace="default")
    assert job.paused == Pause(reason="moving house")
    assert job.spec.enabled is None, "None leaves it as it is"


@pytest.mark.asyncio
async def test_whether_a_job_is_enabled_is_no_part_of_its_versions() -> None:
    host = FakeHost()
    host.job_service.add(a_job(enabled=True))
    host.job_service.add(a_job(revision=2, enabled=False))
    install(host, Settings())
    assert (await diff(host)).changes == []


@pytest.mark.asyncio
async def test_a_rollback_brings_back_the_credential_of_that_time_and_not_the_stars() -> None:
    host = FakeHost()
    for n, token in ((1, "sealed:old"), (2, "sealed:new")):
        hook = {"url": "http://h/", "auth": {"type": "bearer", "token": token}}
        host.job_service.add(a_job(revision=n, webhook=hook))
    install(host, Settings())
    done = await rollback(host, "1")
    assert "sealed:old" not in repr(done)
    job = await host.jobs.get("nightly", namespace="default")
    assert "sealed:old" in repr(job.spec.target)


@pytest.mark.asyncio
async def test_a_rollback_of_a_job_that_has_moved_on_is_refused() -> None:
    host = a_host()
    with pytest.raises(VersionConflict):
        await rollback(host, "1", if_match=2)
    with pytest.raises(VersionConflict):
        await rollback(host, "3", if_match=2)
    assert (await rollback(host, "1", if_match=3)).new_version == 4
    assert (await rollback(host, "2", if_match=-1)).new_version == 5


@pytest.mark.asyncio
async def test_rolling_back_to_what_is_in_force_is_refused() -> None:
    with pytest.raises(Unprocessable, match="is the one in force"):
        await rollback(a_host(), "3")


def test_reading_needs_read_rights_and_rolling_back_the_right_to_update() -> None:
    rights = {route: endpoint.permission for route, endpoint in a_host().endpoints.items()}
    assert rights.pop(("POST", JOB + "/rollback/{version}")) == "job:update"
    assert set(rights.values()) == {"job:read"}
    assert len(rights) == 3


def test_a_worker_and_a_switched_off_feature_serve_nothing() -> None:
    worker, off = FakeHost(Place.WORKER), FakeHost()
    install(worker, Settings())
    install(off, Settings(enabled=False))
    assert (worker.endpoints, off.endpoints) == ({}, {})
