"""`chronosctl` against a real server: what people type, and what comes of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.shell import PROGRAM, Shell, server, target

from chronos.client import Client
from chronos.errors import NameTaken, NotFound, VersionConflict

KEYS_NEEDED = "auth:\n  type: api_key\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("chronosctl")
    with server(folder) as url:
        yield url, folder


@pytest.fixture(scope="module")
def hook() -> Iterator[str]:
    with target() as url:
        yield url


@pytest.fixture
def ctl(place: tuple[str, Path], tmp_path: Path) -> Shell:
    url, folder = place
    return Shell(url, tmp_path, folder / "data")


def test_a_job_lives_from_creation_to_deletion(ctl: Shell, hook: str) -> None:
    made = ctl("job", "create", "life", "--schedule", "0 2 * * *", "--url", f"{hook}/", "--tag", "story=life")
    assert (made.code, made.err) == (0, "")
    assert made.out.startswith("created life (")
    assert "0 2 * * *" in ctl("job", "list", "--tag", "story=life").out
    assert ctl("job", "create", "life", "--schedule", "@daily", "--url", hook).code == 5

    assert ctl("job", "update", "life", "--schedule", "30 3 * * *", "--timezone", "Asia/Tokyo").code == 0
    assert ctl("job", "update", "life", "--tag", "more=1", "--untag", "story", "--method", "PUT").code == 0
    job = ctl("job", "get", "lif", "-o", "json").json
    assert (job["schedule"], job["timezone"], job["tags"]) == ("30 3 * * *", "Asia/Tokyo", {"more": "1"})
    assert (job["webhook"]["url"], job["webhook"]["method"]) == (f"{hook}/", "PUT")

    assert [line.split()[0] for line in ctl("job", "versions", "life").out.splitlines()] == ["VERSION", "3", "2", "1"]
    assert "30 3 * * *" in ctl("job", "diff", "life", "--from", "1", "--to", "2").out
    assert ctl("job", "rollback", "life", "1").code == 0
    assert ctl("job", "get", "life", "-o", "json").json["schedule"] == "0 2 * * *"

    assert ctl("job", "pause", "life", "--reason", "moving", "--until", "+2h").code == 0
    assert "paused: moving" in ctl("job", "get", "life").out
    assert ctl("job", "resume", "life").code == 0
    assert ctl("job", "disable", "life").code == 0
    assert ctl("job", "enable", "life").out.startswith("enabled life, next run")
    assert ctl("job", "delete", "life").code == 0
    assert ctl("job", "get", "life").code == 4


def test_triggering_and_waiting_gives_the_exit_code_of_the_run(ctl: Shell, hook: str) -> None:
    ctl("job", "create", "good", "--schedule", "@yearly", "--url", f"{hook}/fine")
    ctl("job", "create", "bad", "--schedule", "@yearly", "--url", f"{hook}/status/404", "--retries", "0")
    good = ctl("job", "trigger", "good", "--wait=20s")
    assert (good.code, good.err) == (0, "")
    assert "you asked for /fine" in good.out
    bad = ctl("job", "trigger", "bad", "--wait=20s", "-o", "json")
    assert bad.code == 1
    assert bad.json["status"] == "failed"

    [run] = ctl("execution", "list", "bad", "-o", "json").json
    assert "404" in ctl("execution", "get", run["id"]).out
    assert "/status/404" in ctl("execution", "logs", run["id"]).out
    assert "/status/404" in ctl("execution", "logs", run["id"], "-f").out
    assert run["id"] in ctl("execution", "dead-letters").out
    assert ctl("execution", "redrive", run["id"]).code == 0
    assert ctl("execution", "replay", run["id"]).code == 0
    runs = ctl.until("execution", "list", "bad", holds=lambda found: all(r["completed_at"] for r in found))
    assert {r["status"] for r in runs} == {"failed"}
    assert len(runs) == 2
    assert ctl("execution", "cancel", run["id"]).code == 5


def test_a_past_range_is_run(ctl: Shell, hook: str) -> None:
    ctl("job", "create", "past", "--schedule", "0 * * * *", "--url", hook, "--concurrency", "allow")
    done = ctl("job", "backfill", "past", "--since", "2026-01-01", "--until", "2026-01-01T03:00:00Z", "-o", "json")
    assert (done.code, done.json["count"]) == (0, 3)
    ctl.until("execution", "list", "past", holds=lambda found: [r["status"] for r in found] == ["success"] * 3)


def test_what_happens_is_shown_as_it_happens(ctl: Shell, hook: str) -> None:
    ctl("job", "create", "seen", "--schedule", "@every 1s", "--url", hook)
    done = ctl("execution", "watch", "--job", "seen", "--count", "4")
    assert done.code == 0
    assert len(done.out.splitlines()) == 4
    assert all("seen" in line for line in done.out.splitlines())
    ctl("job", "delete", "seen")


def test_a_file_is_applied_until_nothing_is_left_to_do(ctl: Shell, hook: str, tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    jobs = "\n".join(
        f"- {{name: applied-{n}, schedule: '0 {n} * * *', webhook: {{url: '{hook}/{n}'}}, tags: {{of: apply}}}}"
        for n in range(3)
    )
    file.write_text(f"jobs:\n{jobs}\n")
    assert ctl("job", "apply", "-f", str(file)).out.endswith("3 created, 0 updated, 0 unchanged\n")
    assert ctl("job", "apply", "-f", str(file)).out.endswith("0 created, 0 updated, 3 unchanged\n")
    file.write_text(f"jobs:\n{jobs.replace('0 2 * * *', '5 2 * * *')}\n".replace("applied-0", "applied-9"))
    done = ctl("job", "apply", "-f", str(file), "--prune", "--tag", "of=apply")
    assert 'schedules: ["0 2 * * *"] → ["5 2 * * *"]' in done.out
    assert done.out.endswith("1 created, 1 updated, 1 deleted, 1 unchanged\n")


def test_what_is_exported_is_imported_again(ctl: Shell, hook: str, tmp_path: Path) -> None:
    header = "X-Token: ${secret:env:HOME}"
    ctl("job", "create", "carried", "--schedule", "*/5 * * * *", "--url", hook, "--header", header, "--retries", "7")
    exported = ctl("job", "export", "carried")
    file = tmp_path / "out.yaml"
    file.write_text(exported.out)
    ctl("job", "delete", "carried")
    done = ctl("job", "import", str(file))
    assert (done.code, done.out.splitlines()[-1]) == (0, "1 of 1 imported")
    assert ctl("job", "export", "carried").out == exported.out


def test_a_calendar_is_applied_used_and_guarded(ctl: Shell, hook: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("exclude: [2027-01-04]\n")
    assert ctl("calendar", "apply", "off", "-f", str(file)).code == 0
    done = ctl("job", "create", "rest", "--schedule", "0 9 * * MON", "--url", hook, "--calendar", "off")
    assert done.code == 0
    assert "2027-01-04" in ctl("calendar", "get", "off").out
    assert ctl("calendar", "delete", "off").code == 5
    ctl("job", "delete", "rest")
    assert ctl("calendar", "delete", "off").code == 0


def test_a_target_is_tried_out(ctl: Shell, hook: str) -> None:
    good = ctl("webhook", "test", f"{hook}/x", "--body", "hi")
    assert good.code == 0
    assert "you asked for /x" in good.out
    assert ctl("webhook", "test", f"{hook}/status/500").code == 1


def test_the_server_agrees_on_what_a_schedule_means(ctl: Shell) -> None:
    with Client(ctl.server) as client:
        theirs = client.preview_schedule("30 2 * * *", timezone="America/New_York", count=200)
    ours = ctl("schedule", "next", "30 2 * * *", "--tz", "America/New_York", "-c", "200", "-o", "json").json
    assert [run["utc"] for run in ours["next_runs"]] == theirs.next_runs


def test_the_state_of_the_server_is_shown(ctl: Shell) -> None:
    assert "Is leader:" in ctl("cluster", "status").out
    assert "Restore epoch:" in ctl("clock", "status").out
    assert ctl("cluster", "breakers").code == 0
    done = ctl("doctor", "--data-dir", str(ctl.data))
    assert (done.code, "PROBLEM" in done.out) == (0, False)


def test_the_sdk_knows_refusals_by_their_names(ctl: Shell, hook: str) -> None:
    spec = {"name": "sdk", "schedule": "@daily", "webhook": {"url": hook}}
    with Client(ctl.server) as client:
        job = client.create_job(spec)
        with pytest.raises(NameTaken):
            client.create_job(spec)
        with pytest.raises(NotFound):
            client.get_job("no-such-job")
        changed = client.replace_job(job.id, {**spec, "timeout": "5s"}, revision=job.revision)
        assert changed.revision == job.revision + 1
        with pytest.raises(VersionConflict):
            client.replace_job(job.id, spec, revision=job.revision)
        assert client.trigger_job("sdk", wait="20s").status == "success"
        assert [run.status for run in client.iter_executions(job="sdk", limit=1)] == ["success"]
        assert "sdk" in [found.name for found in client.iter_jobs(limit=1)]


def test_an_interrupt_ends_a_watch_quietly(ctl: Shell) -> None:
    command = [sys.executable, "-c", PROGRAM, "execution", "watch"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ctl.environment, bufsize=1
    )
    ctl("job", "create", "ping", "--schedule", "@every 1s", "--url", "http://127.0.0.1:9/")
    assert process.stdout is not None
    assert process.stdout.readline()  # it watches by now
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    ctl("job", "delete", "ping")
    assert (process.returncode, err) == (130, "chronosctl: interrupted\n")


def test_a_server_with_keys_lets_in_whoever_has_one(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    with server(folder, KEYS_NEEDED) as url:
        ctl = Shell(url, tmp_path, folder / "data")
        refused = ctl("job", "list")
        assert (refused.code, refused.err.count("\n")) == (3, 1)
        assert "--data-dir" in refused.err
        assert ctl("job", "list", "--data-dir", str(ctl.data)).code == 0

        ctl.env["CHRONOS_API_KEY"] = ctl("key", "create", "reader", "--data-dir", str(ctl.data)).out.strip()
        assert ctl("job", "list").code == 0
        assert ctl("job", "create", "x", "--schedule", "@daily", "--url", "http://127.0.0.1:9/").code == 3
        [mine] = [
            k for k in ctl("key", "list", "--data-dir", str(ctl.data), "-o", "json").json if k["name"] == "reader"
        ]
        assert ctl("key", "revoke", mine["id"], "--data-dir", str(ctl.data)).code == 0
        assert ctl("job", "list").code == 3
        assert ctl("doctor").code == 1


def test_nobody_there_is_exit_code_6(tmp_path: Path) -> None:
    done = Shell("http://127.0.0.1:9", tmp_path, tmp_path)("job", "list")
    assert (done.code, done.out, done.err.count("\n")) == (6, "", 1)
