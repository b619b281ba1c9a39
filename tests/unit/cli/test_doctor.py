"""The doctor finds what is wrong and says what to do; when nothing is, it says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.unit.cli.conftest import Ctl

from chronos import __version__
from chronos.timing.zone import tzdata_version

NOW = "Fri, 01 Jan 2027 12:00:00 GMT"


@pytest.fixture
def well(ctl: Ctl) -> Ctl:
    """A command line with a server that is well."""
    ctl.server.on("GET", "/health", 200, {"status": "healthy", "version": __version__}, {"date": NOW})
    ctl.server.on("GET", "/ready", 200, {"ready": True})
    ctl.server.on("GET", "/api/v1/whoami", 200, {"id": "admin", "permissions": ["*"]})
    ctl.server.on("GET", "/api/v1/cluster/status", 200, {"tzdata_version": tzdata_version()})
    ctl.server.on("GET", "/api/v1/clock", 200, {"held": False})
    ctl.server.on("GET", "/api/v1/heartbeat", 200, {"configured": True, "scheduling": True})
    ctl.server.on("GET", "/api/v1/breakers", 200, {"breakers": [{"host": "t.example:443", "state": "closed"}]})
    ctl.server.on("GET", "/api/v1/executions", 200, {"executions": [], "next_cursor": None})
    ctl.server.on("GET", "/api/v1/notify/channels", 200, {"channels": [{"type": "slack", "name": "slack"}]})
    ctl.server.on("GET", "/api/v1/notify/lost", 200, {"lost": [], "total": 0})
    return ctl


def problems(ctl: Ctl, *args: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code and what was not good."""
    done = ctl("doctor", *args, "-o", "json")
    assert done.err == ""
    return done.code, [row for row in done.json if row["level"] != "ok"]


def test_nothing_is_wrong_where_nothing_is(well: Ctl) -> None:
    assert problems(well) == (0, [])


def test_a_server_that_does_not_answer_is_found_with_the_command_that_starts_one(ctl: Ctl) -> None:
    def refused(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("[Errno 111] Connection refused")

    ctl.server.handle = refused  # type: ignore[method-assign]
    code, [found] = problems(ctl, "-s", "http://127.0.0.1:8123")
    assert code == 1
    assert "connection refused" in found["what"]
    assert "--http-address 127.0.0.1:8123" in found["advice"]


FAILED = {"id": "occ_1", "job_id": "J1", "job_name": "nightly", "status": "failed"}
LOST = {"channel": "slack", "reason": "404"}
LOG = {"first": 1, "last": 9, "bytes": 12_000_000, "held": {"backup": 7}, "cut_past": []}
CASES: list[tuple[str, int, Any, dict[str, str], int, str]] = [
    ("/health", 200, {"status": "healthy", "version": "99.0"}, {"date": NOW}, 0, "version 99.0"),
    ("/health", 200, {"version": __version__}, {"date": "Fri, 01 Jan 2027 11:59:00 GMT"}, 0, "s ahead of"),
    ("/health", 200, {"version": __version__}, {"date": "Fri, 01 Jan 2027 13:00:00 GMT"}, 0, "s behind"),
    ("/health", 200, [1], {"date": NOW}, 1, "no Chronos server"),
    ("/ready", 503, {"ready": False, "reason": "draining"}, {}, 1, "takes no requests"),
    ("/api/v1/whoami", 401, {"type": "unauthenticated"}, {}, 1, "wants an API key"),
    ("/api/v1/whoami", 403, {"type": "denied", "detail": "No."}, {}, 1, "do nothing"),
    ("/api/v1/cluster/status", 200, {"tzdata_version": "1999a"}, {}, 0, "1999a on the server"),
    (
        "/api/v1/cluster/status",
        200,
        {"log": {**LOG, "cut_past": ["backup"]}},
        {},
        0,
        "not reach back to the last backup",
    ),
    ("/api/v1/cluster/status", 200, {"log": {**LOG, "cut_past": ["notify"]}}, {}, 0, "was cut before notify"),
    ("/api/v1/breakers", 200, {"breakers": [{"host": "t:80", "state": "open"}]}, {}, 0, "1 host left alone"),
    ("/api/v1/executions", 200, {"executions": [FAILED, FAILED]}, {}, 0, "2 executions failed for good in 24 hours: n"),
    ("/api/v1/heartbeat", 200, {"configured": False, "scheduling": True}, {}, 0, "a dead server cannot report itself"),
    ("/api/v1/heartbeat", 200, {"configured": True, "scheduling": False, "trouble": "Stuck."}, {}, 1, "Stuck."),
    ("/api/v1/heartbeat", 200, {"configured": True, "scheduling": True, "last_error": "no"}, {}, 0, "not arrive: no"),
    ("/api/v1/notify/channels", 200, {"channels": [], "on": []}, {}, 0, "nobody is told"),
    ("/api/v1/notify/lost", 200, {"lost": [LOST], "total": 3}, {}, 0, "3 messages lost; the newest, to slack: 404"),
    ("/api/v1/clock", 200, {"held": True}, {}, 1, "does not trust its clock"),
    ("/api/v1/clock", 200, {"silent_until": "2027-01-02T00:00:00Z"}, {}, 1, "nothing fires until"),
]


@pytest.mark.parametrize(("path", "status", "body", "headers", "code", "what"), CASES)
def test_what_is_wrong_with_the_server_is_found(
    well: Ctl, path: str, status: int, body: Any, headers: dict[str, str], code: int, what: str
) -> None:
    well.server.on("GET", path, status, body, headers)
    found_code, [found] = problems(well)
    assert found_code == code
    assert what in found["what"]
    assert found["advice"]


def test_a_job_whose_calendar_lets_nothing_through_is_a_problem(well: Ctl) -> None:
    well.server.add("works", calendar="c")
    well.server.add("over", next_run=None)
    assert problems(well) == (0, [])
    well.server.add("stuck", calendar="c", next_run=None)
    code, [found] = problems(well)
    assert code == 1
    assert found["what"].endswith("lets nothing through: stuck")


@pytest.mark.parametrize("path", ["/api/v1/breakers", "/api/v1/executions", "/api/v1/notify/channels"])
@pytest.mark.parametrize("status", [403, 404])
def test_what_a_key_may_not_see_is_no_finding(well: Ctl, path: str, status: int) -> None:
    slug = {403: "denied", 404: "not-found"}[status]
    well.server.on("GET", path, status, {"type": slug, "detail": "No."})
    assert problems(well) == (0, [])


def backed_up(data: Path, *, hours: float) -> None:
    """Let the last backup of a data folder be so many hours ago."""
    now = datetime.strptime(NOW, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    taken_us = int((now - timedelta(hours=hours)).timestamp() * 1e6)
    (data / "last-backup.json").write_text(json.dumps({"taken_us": taken_us, "entry": 7}))


def test_a_backup_that_is_old_or_was_never_taken_is_found(well: Ctl, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "admin.key").write_text("k")
    (tmp_path / "admin.key").chmod(0o600)
    code, [found] = problems(well, "--data-dir", str(tmp_path))
    assert (code, "was ever taken" in found["what"]) == (0, True)
    assert "chronos backup" in found["advice"]
    backed_up(tmp_path, hours=24 * 8)
    assert "8 days old" in problems(well, "--data-dir", str(tmp_path))[1][0]["what"]
    backed_up(tmp_path, hours=24 * 6)
    assert problems(well, "--data-dir", str(tmp_path)) == (0, [])


def test_a_data_folder_that_others_may_look_into_is_found(well: Ctl, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    backed_up(data, hours=3)
    (data / "admin.key").write_text("k")
    (data / "admin.key").chmod(0o600)
    code, [found] = problems(well, "--data-dir", str(data))
    assert (code, found["advice"]) == (0, f"chmod 700 {data}")
    data.chmod(0o700)
    assert problems(well, "--data-dir", str(data)) == (0, [])


def test_an_admin_key_that_others_may_read_is_one_problem(well: Ctl, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    backed_up(data, hours=3)
    (data / "admin.key").write_text("k")
    (data / "admin.key").chmod(0o644)
    code, [found] = problems(well, "--data-dir", str(data))
    assert code == 1
    assert "chmod 600" in found["what"]


def test_a_key_is_counted_and_not_shown(well: Ctl) -> None:
    well.environ["CHRONOS_API_KEY"] = "s3cret-key"
    done = well("doctor")
    assert "an API key of 10 characters" in done.out
    assert "s3cret" not in done.out


def test_people_see_what_to_do_below_what_is_wrong(well: Ctl) -> None:
    well.server.on("GET", "/api/v1/clock", 200, {"held": True})
    assert "PROBLEM  the server does not trust its clock\n         → Set it right" in well("doctor").out


@pytest.mark.parametrize(
    ("said", "level", "words"),
    [
        ({"format": 99, "needs": "99.0.0"}, "problem", "release 99.0.0 or newer"),
        ({"format": 1, "upgrading_from": 1}, "warning", "in the middle of an upgrade"),
        ("no marker", "problem", "not what was written"),
    ],
)
def test_the_format_of_the_data_folder_is_looked_at(
    well: Ctl, tmp_path: Path, said: object, level: str, words: str
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    backed_up(data, hours=1)
    (data / "admin.key").touch(0o600)
    (data / "admin.key").write_text("chr_x")
    (data / "FORMAT").write_text(json.dumps(said))

    code, [found] = problems(well, "--data-dir", str(data))
    assert (found["level"], code) == (level, int(level == "problem"))
    assert words in found["what"]
