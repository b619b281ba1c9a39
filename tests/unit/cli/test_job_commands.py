"""Jobs from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Ctl
from tests.unit.cli.fake_server import problem

CREATE = ("job", "create", "nightly", "--schedule", "0 2 * * *", "--url", "http://t.example/")


def test_a_job_is_created_by_flags(ctl: Ctl) -> None:
    done = ctl(
        *CREATE, "--timezone", "Europe/Paris", "--method", "put", "--header", "X-A: 1", "--tag", "team=ops",
        "--timeout", "30s", "--retries", "4", "--concurrency", "queue", "--body", "hi", "--success-code", "202",
    )  # fmt: skip
    assert done.code == 0
    assert done.out.startswith("created nightly (01JOB")
    assert ctl.server.bodies("POST") == [
        {
            "name": "nightly",
            "schedule": "0 2 * * *",
            "timezone": "Europe/Paris",
            "timeout": "30s",
            "tags": {"team": "ops"},
            "concurrency": "queue",
            "retry_policy": {"max_attempts": 5},
            "webhook": {
                "url": "http://t.example/",
                "method": "PUT",
                "headers": {"X-A": "1"},
                "body": "hi",
                "success_codes": [202],
            },
        }
    ]


def test_a_command_behind_two_dashes_is_a_process(ctl: Ctl) -> None:
    done = ctl("job", "create", "tidy", "--schedule", "@daily", "--", "/usr/bin/find", "/tmp", "-delete")
    assert done.code == 0
    assert ctl.server.bodies("POST")[0]["target"] == {"type": "process", "argv": ["/usr/bin/find", "/tmp", "-delete"]}


def test_every_change_carries_an_idempotency_key_and_a_content_type(ctl: Ctl) -> None:
    ctl.server.add("nightly")
    ctl("job", "trigger", "nightly")
    ctl("job", "delete", "nightly")
    writes = [r for r in ctl.server.requests if r.method != "GET"]
    assert len(writes) == 2
    assert all(len(r.headers["idempotency-key"]) == 26 for r in writes)
    assert all(r.headers["content-type"] == "application/json" for r in writes)


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ((*CREATE[:3], "--url", "http://t.example/"), "schedule"),
        ((*CREATE[:3], "--schedule", "0 2 * * *"), "webhook"),
        ((*CREATE[:4], "61 * * * *", "--url", "http://t.example/"), "61"),
        ((*CREATE, "--timezone", "Europe/Pariss"), "Europe/Paris"),
        ((*CREATE, "--header", "nonsense"), "NAME: VALUE"),
        ((*CREATE, "--tag", "nonsense"), "KEY=VALUE"),
        ((*CREATE, "--concurrency", "maybe"), "concurrency"),
        ((*CREATE, "--priority", "12"), "priority"),
        (("job", "create"), "name"),
        (("job", "create", "-f", "no-such-file.yaml"), "no-such-file.yaml"),
        (("job", "create", "a/b", *CREATE[3:]), "name"),
        (("job", "update", "nightly"), "what to change"),
        (("job", "pause", "nightly", "--until", "tomorrow"), "--until"),
        (("job", "lst"), "`list`"),
        (("job", "apply", "-f", "x.yaml", "--prune"), "--tag"),
        (("-o", "xml", "job", "list"), "xml"),
        (("-s", "ftp://h/", "job", "list"), "ftp://h/"),
        (("-s", "http://h:x/", "job", "list"), "http://h:x/"),
        (("--request-timeout", "soon", "job", "list"), "soon"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(ctl: Ctl, args: tuple[str, ...], complaint: str) -> None:
    done = ctl(*args)
    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert complaint in done.err
    assert ctl.server.requests == []


@pytest.mark.parametrize("flag", [("--bearer", "s3cret"), ("--header", "Authorization: Bearer s3cret")])
def test_a_credential_on_the_command_line_is_refused(ctl: Ctl, flag: tuple[str, str]) -> None:
    done = ctl(*CREATE, *flag)
    assert done.code == 2
    assert "${secret:env:NAME}" in done.err
    assert "s3cret" not in done.err


def test_a_credential_by_reference_is_taken(ctl: Ctl) -> None:
    assert ctl(*CREATE, "--bearer", "${secret:env:TOKEN}").code == 0
    assert ctl.server.bodies("POST")[0]["webhook"]["auth"] == {"type": "bearer", "token": "${secret:env:TOKEN}"}


@pytest.mark.parametrize(
    ("status", "slug", "code"),
    [
        (400, "invalid", 2),
        (422, "schedule-invalid", 2),
        (428, "precondition-required", 2),
        (401, "unauthenticated", 3),
        (403, "denied", 3),
        (429, "rate-limited", 3),
        (404, "job-not-found", 4),
        (409, "overlap", 5),
        (412, "version-conflict", 5),
        (503, "not-leader", 6),
        (507, "storage-full", 6),
        (500, "internal-error", 1),
        (418, "of-a-newer-server", 2),
    ],
)
def test_exit_codes_follow_the_error_families(ctl: Ctl, status: int, slug: str, code: int) -> None:
    ctl.server.answers["GET", "/api/v1/cluster/status"] = lambda _: problem(status, slug, "No.", field="x")
    done = ctl("cluster", "status")
    assert done.code == code
    assert done.err.count("\n") == 1
    assert done.err.startswith("chronosctl: ")


def test_a_job_is_found_by_the_beginning_of_its_name(ctl: Ctl) -> None:
    ctl.server.add("nightly-backup")
    ctl.server.add("weekly")
    assert ctl("job", "get", "nigh", "-o", "json").json["name"] == "nightly-backup"


def test_a_beginning_that_fits_several_jobs_names_them(ctl: Ctl) -> None:
    ctl.server.add("nightly-backup")
    ctl.server.add("nightly-report")
    done = ctl("job", "get", "nigh")
    assert done.code == 2
    assert "nightly-backup" in done.err
    assert "nightly-report" in done.err


def test_a_whole_name_goes_before_the_beginning_of_another(ctl: Ctl) -> None:
    ctl.server.add("night")
    ctl.server.add("nightly")
    assert ctl("job", "get", "night", "-o", "json").json["name"] == "night"


def test_an_unknown_job_is_exit_code_4(ctl: Ctl) -> None:
    done = ctl("job", "trigger", "nothing")
    assert (done.code, done.err) == (4, "chronosctl: There is no job `nothing`.\n")


def test_an_unknown_job_with_a_near_name_is_hinted_at(ctl: Ctl) -> None:
    for name in ("nightly", "weekly"):
        ctl.server.add(name)
    done = ctl("job", "get", "nihgtly")
    assert (done.code, done.err) == (4, "chronosctl: There is no job `nihgtly`. Did you mean `nightly`?\n")


def test_deleting_by_a_beginning_asks_first(ctl: Ctl) -> None:
    ctl.server.add("nightly")
    done = ctl("job", "delete", "nigh")
    assert done.code == 2
    assert "--yes" in done.err
    assert len(ctl.server.jobs) == 1
    assert ctl("job", "delete", "nigh", "--yes").code == 0
    assert ctl.server.jobs == {}


def test_the_list_walks_every_page(ctl: Ctl) -> None:
    ctl.server.page_size = 3
    for number in range(10):
        ctl.server.add(f"job-{number}")
    assert [job["name"] for job in ctl("job", "list", "-o", "json").json] == [f"job-{n}" for n in range(10)]
    assert len(ctl("job", "list", "--limit", "4", "-o", "json").json) == 4


def test_a_list_of_nothing_says_what_to_do(ctl: Ctl) -> None:
    assert "job create --help" in ctl("job", "list").out


@pytest.mark.parametrize("asked", [("--text", "x"), ("--tag", "team=x"), ("--disabled",), ("--enabled",)])
def test_a_list_that_a_filter_leaves_empty_does_not_say_that_there_are_none(ctl: Ctl, asked: tuple[str, ...]) -> None:
    out = ctl("job", "list", *asked).out
    assert "No job is like that" in out
    assert "job create" not in out
    assert ctl("job", "list", "-o", "json").json == []


def test_updating_sends_only_what_was_named_at_the_revision_that_was_read(ctl: Ctl) -> None:
    ctl.server.add("nightly", tags={"team": "ops", "owner": "x"})
    done = ctl("job", "update", "nightly", "--schedule", "30 2 * * *", "--tag", "a=b", "--untag", "owner")
    assert (done.code, done.out) == (0, "updated nightly (revision 2)\n")
    [patch] = [r for r in ctl.server.requests if r.method == "PATCH"]
    assert patch.headers["if-match"] == '"1"'
    assert json.loads(patch.content) == {"schedule": "30 2 * * *", "tags": {"a": "b", "owner": None}}


def test_updating_a_url_of_a_job_with_several_schedules_keeps_them(ctl: Ctl) -> None:
    ctl.server.add("nightly", schedules=["@hourly", "@daily"])
    ctl("job", "update", "nightly", "--url", "http://other.example/")
    assert ctl.server.bodies("PATCH") == [{"webhook": {"url": "http://other.example/"}}]


def test_updating_goes_on_when_somebody_was_faster(ctl: Ctl) -> None:
    job = ctl.server.add("nightly")
    original = ctl.server.handle
    raced: list[bool] = []

    def race(request):  # type: ignore[no-untyped-def]
        if request.method == "PATCH" and not raced:
            raced.append(True)
            job["revision"] = 9
        return original(request)

    ctl.server.handle = race  # type: ignore[method-assign]
    assert ctl("job", "update", "nightly", "--priority", "7").out == "updated nightly (revision 10)\n"


def test_updating_a_revision_that_is_gone_is_a_conflict(ctl: Ctl) -> None:
    ctl.server.add("nightly")
    assert ctl("job", "update", "nightly", "--priority", "7", "--revision", "5").code == 5


def test_pausing_says_why_and_until_when(ctl: Ctl) -> None:
    ctl.server.add("nightly")
    done = ctl("job", "pause", "nightly", "--reason", "moving", "--until", "+2h")
    assert done.out.startswith("paused nightly")
    assert ctl.server.bodies("POST") == [{"reason": "moving", "until": "2027-01-01T14:00:00+00:00"}]
    assert "paused: moving" in ctl("job", "list").out


def test_a_range_is_backfilled(ctl: Ctl) -> None:
    ctl.server.add("nightly")
    done = ctl("job", "backfill", "nightly", "--since", "2d", "--until", "2026-12-31")
    assert done.out == "backfilling 2 instants of nightly\n"
    assert ctl.server.bodies("POST") == [{"since": "2026-12-30T12:00:00+00:00", "until": "2026-12-31T00:00:00+00:00"}]


def test_triggering_and_waiting_tells_success_from_failure(ctl: Ctl) -> None:
    ctl.server.add("nightly")
    assert ctl("job", "trigger", "nightly", "--wait").code == 0
    run = {"id": "occ_1", "job_id": "j", "job_name": "nightly", "status": "failed", "reason": "exhausted", "attempt": 3}
    ctl.server.on("POST", "/api/v1/jobs/nightly/trigger", 202, run)
    done = ctl("job", "trigger", "nightly", "--wait=5s")
    assert done.code == 1
    assert "occ_1 is failed: exhausted" in done.err
    assert ctl.server.requests[-1].url.params["wait"] == "5s"


def test_a_namespace_travels_with_every_request(ctl: Ctl) -> None:
    ctl.server.add("nightly", namespace="billing")
    assert ctl("job", "get", "nightly").code == 4
    assert ctl("-n", "billing", "job", "get", "nightly").code == 0
    assert ctl("job", "get", "nightly", "-n", "billing").code == 0
    ctl.environ["CHRONOS_NAMESPACE"] = "billing"
    assert ctl("job", "get", "nightly").code == 0


def test_versions_and_rollback_are_told(ctl: Ctl) -> None:
    ctl.server.add("nightly")
    found = [{"version": 2, "current": True, "at": None, "by": "admin", "fields_changed": ["timeout"]}]
    identity = ctl.server.jobs["default", "nightly"]["id"]
    ctl.server.on("GET", f"/api/v1/jobs/{identity}/versions", 200, {"versions": found, "total": 1})
    ctl.server.on("GET", "/api/v1/jobs/nightly/versions/diff", 200, {"text": "timeout: 1s → 2s\n", "changes": []})
    ctl.server.on("POST", "/api/v1/jobs/nightly/rollback/1", 200, {"new_version": 3})
    assert "2 *" in ctl("job", "versions", "nightly").out
    assert ctl("job", "diff", "nightly", "--from", "1", "--to", "2").out == "timeout: 1s → 2s\n"
    assert ctl("job", "rollback", "nightly", "1").out == "rolled nightly back to version 1, as version 3\n"


def test_a_file_with_several_jobs_creates_them(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(
        "jobs:\n"
        "  - {name: a, schedule: '@hourly', webhook: {url: http://t.example/}}\n"
        "  - {name: b, schedule: 0 2 * * *, webhook: {url: http://t.example/}}\n"
    )
    done = ctl("job", "create", "-f", str(file))
    assert done.code == 0
    assert [line.split()[1] for line in done.out.splitlines()] == ["a", "b"]
