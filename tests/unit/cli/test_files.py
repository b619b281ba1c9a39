"""Job files: what they may look like, what is said of wrong ones, what apply, import and export make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cli.conftest import Ctl

from chronos.cli.chronosctl.changes import changes
from chronos.cli.chronosctl.commands.job_files import chunks_of
from chronos.cli.chronosctl.jobfiles import check_job, parse_jobs
from chronos.cli.chronosctl.portable import portable, starred_paths
from chronos.cli.chronosctl.yamlfile import dump_yaml, load_yaml
from chronos.errors import Invalid

JOB = "name: a\nschedule: '@hourly'\nwebhook: {url: http://t.example/}\n"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (JOB, ["a"]),
        (f"---\n{JOB}---\n{JOB.replace('name: a', 'name: b')}", ["a", "b"]),
        ('{"name": "a", "schedule": "@hourly", "webhook": {"url": "http://t.example/"}}', ["a"]),
        ('[{"name": "a", "schedule": "@hourly", "webhook": {"url": "http://t.example/"}}]', ["a"]),
        ("jobs:\n- {name: a, schedule: '@hourly', webhook: {url: http://t.example/}}\n", ["a"]),
        ("{name: a, schedule: '@hourly', webhook: {url: http://t.example/}}", ["a"]),
        ("", []),
        ("---\n---\n", []),
    ],
)
def test_a_file_holds_one_job_or_several(text: str, names: list[str]) -> None:
    assert [job.spec.name for job in parse_jobs(text, "f.yaml")] == names


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: [", "f.yaml:"),
        ("a: b: c", "f.yaml:1:"),
        ("just text", "not text"),
        ("jobs: 5", "`jobs:` holds a list"),
        ("jobs: []\nother: 1", "`other`"),
        (f"{JOB}timeout: 30\n", "$.timeout"),
        (f"{JOB}shedule: x\n", "shedule`. Did you mean `schedule`?"),
        (f"{JOB}retry_policy: {{max_atempts: 2}}\n", "Did you mean `max_attempts`?"),
        (f"{JOB}qqq: 1\n", "unknown field `qqq`."),
        (f"{JOB}tags: [a]\n", "$.tags"),
        (JOB.replace("@hourly", "99 * * * *"), "99"),
        (JOB.replace("@hourly", "@every 0s"), "@every"),
        (f"{JOB}timezone: Mars/Base\n", "Mars/Base"),
        (f"{JOB}schedules: ['@daily']\n", "schedules"),
        (JOB.replace("webhook", "target"), "type"),
        ("!!python/object:os.system x", "f.yaml"),
    ],
)
def test_a_wrong_file_says_where_and_what(text: str, complaint: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_jobs(text, "f.yaml")
    assert "f.yaml" in str(caught.value)
    assert complaint in str(caught.value)


@given(st.text(max_size=200))
def test_any_text_is_jobs_or_invalid(text: str) -> None:
    try:
        jobs = parse_jobs(text, "f.yaml")
    except Invalid:
        return
    assert all(job.spec.normal().schedules for job in jobs)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abyes~-0.:", max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(PLAIN)
def test_yaml_out_is_the_same_in(plain: Any) -> None:
    assert load_yaml(dump_yaml({"x": plain}), "x") == [{"x": plain}]


def test_two_jobs_of_one_name_are_refused_before_anything_is_sent(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "j.yaml"
    file.write_text(f"{JOB}---\n{JOB}")
    done = ctl("job", "create", "-f", str(file))
    assert done.code == 2
    assert "document 1" in done.err
    assert "document 2" in done.err
    assert ctl.server.requests == []


def test_apply_creates_replaces_and_leaves_alone(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "j.yaml"
    file.write_text(f"{JOB}---\n{JOB.replace('name: a', 'name: b')}timeout: 9s\n")
    ctl.server.add("b")
    dry = ctl("job", "apply", "-f", str(file), "--dry-run")
    assert dry.out == (
        "would create a\nwould update b\n    timeout: nothing → 9s\n"
        "1 created, 1 updated, 0 unchanged (nothing was changed: dry run)\n"
    )
    assert {r.method for r in ctl.server.requests} == {"GET"}
    assert ctl("job", "apply", "-f", str(file)).out.endswith("1 created, 1 updated, 0 unchanged\n")
    assert ctl("job", "apply", "-f", str(file)).out == "unchanged a\nunchanged b\n0 created, 0 updated, 2 unchanged\n"


def test_apply_replaces_at_the_revision_it_compared(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "j.yaml"
    file.write_text(f"{JOB}priority: 9\n")
    ctl.server.add("a")
    ctl("job", "apply", "-f", str(file))
    [put] = [r for r in ctl.server.requests if r.method == "PUT"]
    assert put.headers["if-match"] == '"1"'


def test_prune_deletes_only_what_has_the_tag_and_no_file(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "j.yaml"
    file.write_text(f"{JOB}tags: {{owner: me}}\n")
    for name, owner in (("a", "me"), ("old", "me"), ("other", "you")):
        ctl.server.add(name, tags={"owner": owner})
    done = ctl("job", "apply", "-f", str(file), "--prune", "--tag", "owner=me")
    assert "deleted old" in done.out
    assert sorted(name for _, name in ctl.server.jobs) == ["a", "other"]


def test_a_job_shown_and_written_back_does_not_change() -> None:
    spec = check_job({"name": "a", "schedule": "@hourly", "webhook": {"url": "http://t.example/"}}, "x").spec
    shown = {"name": "a", "schedule": "@hourly", "webhook": {"url": "http://t.example/", "method": "POST"}, "id": "1"}
    assert changes(shown, spec) == []
    assert changes({**shown, "enabled": False}, spec) == []


def test_a_credential_in_the_file_counts_as_changed() -> None:
    auth = {"type": "bearer", "token": "new"}
    document = {"name": "a", "schedule": "@hourly", "webhook": {"url": "http://t.example/", "auth": auth}}
    shown = {**document, "webhook": {"url": "http://t.example/", "auth": {"type": "bearer", "token": "***"}}}
    [change] = changes(shown, check_job(document, "x").spec)
    assert str(change) == "target.auth.token: *** → given again (only the server can compare it)"
    assert "new" not in str(change)


def test_what_is_exported_is_what_was_written() -> None:
    written = {
        "name": "a",
        "schedule": "@hourly",
        "webhook": {"url": "http://t.example/", "method": "GET"},
        "retry_policy": {"max_attempts": 9},
        "tags": {"x": "y"},
    }
    spec = check_job(written, "x").spec
    shown = {**msgspec.to_builtins(spec), "id": "1", "revision": 3, "next_run": "x", "paused": None, "enabled": True}
    assert portable(shown) == written


def test_an_exported_file_can_be_imported(ctl: Ctl, tmp_path: Path) -> None:
    ctl.server.add("a", tags={"x": "y"})
    ctl.server.add("b", schedule="*/5 * * * *", enabled=False)
    exported = ctl("job", "export")
    assert "revision" not in exported.out
    file = tmp_path / "out.yaml"
    file.write_text(exported.out)
    ctl.server.jobs.clear()
    done = ctl("job", "import", str(file))
    assert (done.code, done.out.splitlines()[-1]) == (0, "2 of 2 imported")
    assert ctl("job", "export").out == exported.out


def test_an_export_says_which_credentials_are_not_in_it(ctl: Ctl) -> None:
    ctl.server.add("a", webhook={"url": "http://t.example/", "auth": {"type": "bearer", "token": "***"}})
    done = ctl("job", "export")
    assert "a: webhook.auth.token" in done.err
    assert list(starred_paths({"x": [{"y": "***"}], "z": "**"})) == ["x[0].y"]


def test_a_crontab_is_imported_in_the_zone_that_was_named(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "tab"
    file.write_text("MAILTO=x\n0 3 * * * /usr/bin/backup\n")
    done = ctl("job", "import", str(file), "--timezone", "Asia/Tokyo", "-n", "ops")
    assert done.code == 0
    assert "note: line 1: MAILTO" in done.err
    assert ctl.server.jobs["ops", "backup"]["timezone"] == "Asia/Tokyo"


def test_a_crontab_with_a_refused_line_changes_nothing_unless_told_to(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "tab"
    file.write_text("@reboot /usr/bin/x\n0 3 * * * /usr/bin/backup\n")
    done = ctl("job", "import", str(file), "--tz", "UTC")
    assert done.code == 2
    assert "line 1: @reboot" in done.err
    assert ctl.server.requests == []
    assert ctl("job", "import", str(file), "--tz", "UTC", "--skip-refused").code == 0
    assert list(ctl.server.jobs) == [("default", "backup")]


def test_an_import_that_is_refused_in_part_says_which_part(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "j.yaml"
    file.write_text(JOB)
    error = {"type": "denied", "status": 403, "detail": "You may not."}
    results = [{"line": 1, "status": 403, "name": "a", "error": error}]
    ctl.server.on("POST", "/api/v1/jobs:batch", 200, {"results": results, "failed": 1})
    done = ctl("job", "import", str(file))
    assert done.code == 3
    assert "You may not." in done.out


def test_a_dry_run_prints_the_jobs_and_sends_nothing(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "tab"
    file.write_text("0 3 * * * /usr/bin/backup\n")
    done = ctl("job", "import", str(file), "--tz", "UTC", "--dry-run")
    assert [job.spec.name for job in parse_jobs(done.out, "out")] == ["backup"]
    assert ctl.server.requests == []


@given(st.integers(0, 1_400))
def test_long_imports_go_in_bounded_requests(count: int) -> None:
    job = parse_jobs(JOB, "x")[0]
    chunks = chunks_of([job] * count)
    assert sum(map(len, chunks)) == count
    assert all(len(chunk) <= 500 for chunk in chunks)


def test_a_file_without_end_is_read_no_further_than_it_may_be_long(ctl: Ctl) -> None:
    done = ctl("job", "apply", "-f", "/dev/zero")
    assert done.code == 2
    assert done.err.count("\n") == 1
