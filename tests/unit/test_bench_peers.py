"""What is said of other schedulers is said of what arrived, and what could not be measured says why."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bench.peers import __main__ as command
from bench.peers import run
from bench.peers.catalogue import PACKAGES, PEERS, SECOND, TOLD, UNKNOWN, Peer, lacking
from bench.peers.figures import Work, each_us, judged, text_rows, told, used
from bench.peers.installs import DRIVERS, NotInstalled, folder_name, installed, name_of
from bench.peers.quiet import Busy, others_cores

from chronos.timing.jitter import jitter_us

BEGIN = 1_800_000_000
SPREAD = Work("spread", jobs=30, seconds=3, begin=BEGIN)
BURST = Work("burst", jobs=4, seconds=3, begin=BEGIN)
RECURRING = Work("every-second", jobs=2, seconds=3, begin=BEGIN)


def test_a_spread_has_as_many_jobs_in_each_second_at_moments_that_are_the_same_each_time() -> None:
    dues = SPREAD.dues()
    assert dues == sorted(dues) == SPREAD.dues()
    assert [sum(int(due) == BEGIN + second for due in dues) for second in range(3)] == [10, 10, 10]
    assert len(set(dues)) > 20
    assert all(round(due * 1_000) / 1_000 == due for due in dues), "no scheduler is asked for less than a millisecond"


def test_a_burst_is_due_at_one_instant_and_ends_a_second_later() -> None:
    assert BURST.dues() == [float(BEGIN)] * 4
    assert BURST.end == BEGIN + 1
    assert (BURST.expected, RECURRING.expected) == (4, 6)


def test_what_is_missing_doubled_or_early_is_told() -> None:
    arrivals = [
        (BEGIN + 0.5, "a", "job-a", BEGIN),
        (BEGIN + 0.6, "a", "job-a", BEGIN),
        (BEGIN - 0.1, "b", "job-b", BEGIN),
        (BEGIN + 2.0, "c", "job-c", BEGIN),
    ]
    found = told(judged(arrivals, BURST, TOLD, has_jitter=False), BURST)
    assert (found["expected"], found["arrived"], found["missing"], found["arrived_twice"]) == (4, 3, 1, 1)
    assert (found["early"], found["a_second"]) == (1, 2.0)
    assert found["lateness_ms"] == {"p50": 600.0, "p95": 2000.0, "p99": 2000.0, "max": 2000.0}


def test_nothing_that_arrived_is_no_figure_and_no_crash() -> None:
    found = told([], BURST)
    assert (found["arrived"], found["missing"], found["a_second"], found["lateness_ms"]) == (0, 4, 0.0, {})
    assert each_us({"driver": 1.0}, 0) == 1_000_000


def test_of_recurring_jobs_only_instants_inside_of_the_window_count() -> None:
    arrivals = [(BEGIN + second + 0.25, f"{second}", "job-0", float(BEGIN + second)) for second in range(-2, 6)]
    found = told(judged(arrivals, RECURRING, TOLD, has_jitter=False), RECURRING)
    assert (found["arrived"], found["a_second"]) == (3, 1.0)
    assert found["lateness_ms"]["max"] == 250.0


def test_a_job_that_is_not_told_its_instant_is_judged_by_the_second_it_arrived_in() -> None:
    arrivals = [(BEGIN + 0.25, "", "job-0", 0.0), (BEGIN + 1.75, "", "job-0", 0.0), (BEGIN + 1.875, "", "job-0", 0.0)]
    found = told(judged(arrivals, RECURRING, SECOND, has_jitter=False), RECURRING, SECOND)
    assert (found["arrived"], found["arrived_twice"], found["missing"]) == (2, 1, 4)
    assert found["lateness_ms"]["max"] == 875.0


def test_who_keeps_no_instants_has_no_lateness() -> None:
    arrivals = [(BEGIN + second + 0.25, f"{second}", "job-0", 0.0) for second in range(-2, 6)]
    found = told(judged(arrivals, RECURRING, UNKNOWN, has_jitter=False), RECURRING, UNKNOWN)
    assert (found["arrived"], found["missing"], found["lateness_ms"]) == (3, 3, {})


def test_an_instant_with_jitter_is_due_when_its_jitter_says() -> None:
    moment = BEGIN + jitter_us("job-x", BEGIN, 1_000_000) / 1_000_000
    [(at, _, _, due)] = judged([(moment + 0.5, "x", "job-x", float(BEGIN))], SPREAD, TOLD, has_jitter=True)
    assert at - due == pytest.approx(0.5, abs=1e-6)
    [(_, _, _, plain)] = judged([(moment, "x", "job-x", float(BEGIN))], BURST, TOLD, has_jitter=True)
    assert plain == BEGIN


def test_the_cpu_is_that_of_the_work_and_not_of_idling() -> None:
    samples = [(BEGIN - 3 + second, {"driver": float(second), "beat": 2.0 * second}) for second in range(12)]
    burst = [(BEGIN + 2.5, "a", "job-a", float(BEGIN))]
    assert used(samples, burst, BURST) == {"driver": 7.0, "beat": 14.0}
    assert used(samples, [], RECURRING) == {"driver": 3.0, "beat": 6.0}
    assert used(samples[:1], burst, BURST) == {"driver": 0.0, "beat": 0.0}
    assert each_us({"driver": 1.0, "beat": 2.0}, 1_000) == 3_000


def test_what_others_used_is_what_was_used_less_our_own() -> None:
    before, after = Busy(BEGIN, 100.0, 10.0), Busy(BEGIN + 10, 115.0, 20.0)
    assert others_cores(before, after) == 0.5
    assert others_cores(before, Busy(BEGIN + 10, 105.0, 20.0)) == 0.0, "ticks are counted at different moments"
    assert others_cores(before, None) is None
    assert others_cores(before, before) is None


def test_a_process_has_the_name_of_the_first_word_it_was_started_with() -> None:
    names = {"celery_app beat": "beat", "redis-server": "redis"}
    assert run.process_name(b"python\0-m\0celery\0-A\0celery_app\0beat\0", names) == "beat"
    assert run.process_name(b"redis-server 127.0.0.1:6379", names) == "redis"
    assert run.process_name(b"python\0celery_worker.py\0", names) == "driver"


def test_the_table_for_people_has_a_sentence_for_what_was_not_run() -> None:
    good: dict[str, Any] = {"peer": "good", "expected": 1_000, "arrived": 999, "arrived_twice": 0, "a_second": 12.5}
    good |= {"lateness_ms": {"p50": 1.5, "p99": 2.0, "max": 3.0}, "cpu_us_per_execution": 1_234, "cpu_s": {"driver": 1}}
    rows, notes = text_rows([{"peer": "absent", "not_run": "there is no node"}, good, {**good, "lateness_ms": {}}])
    assert notes == ["absent was not run: there is no node"]
    assert rows[1] == ("good", "999 of 1,000", "0", "12.5", "1.5", "2", "3", "1,234", "1.00 driver")
    assert rows[2][4:7] == ("-", "-", "-")


def test_what_is_missing_is_named_with_the_package_that_brings_it() -> None:
    peer = Peer("x.py", needs=("redis-server", "node"))
    there: Mapping[str, str | None] = {"redis-server": None, "node": "/usr/bin/node"}
    assert lacking(peer, there) == "redis-server not found (on Debian: apt-get install redis-server)"
    assert lacking(peer, {"redis-server": "/a", "node": "/b"}) == ""


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_says_what_it_is_and_what_it_survives(name: str) -> None:
    peer = PEERS[name]
    assert (DRIVERS / peer.driver).is_file()
    assert peer.setup
    assert peer.survives
    assert peer.recurring in {TOLD, SECOND, UNKNOWN}
    assert set(peer.needs) <= set(PACKAGES)
    assert all("==" in requirement for requirement in peer.python), "figures are of a version"


def test_peers_with_the_same_needs_share_a_folder_and_others_do_not() -> None:
    assert name_of("psycopg[binary]==3.3.9") == "psycopg"
    folders = {name: folder_name(peer) for name, peer in PEERS.items()}
    assert folders["apscheduler-3-memory"] == folders["apscheduler-3-sqlite"]
    assert folders["apscheduler-4-memory"] != folders["apscheduler-4-postgres"]
    assert folder_name(replace(PEERS["dkron"], setup="otherwise")) == folders["dkron"]
    assert folders["bullmq-redis"].startswith("npm-")


def test_what_cannot_be_fetched_is_told_without_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho 'reading https://proxy.test/v4.info: 403 Forbidden' >&2\nexit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(NotInstalled, match=r"^go could not install it: reading 403 Forbidden$"):
        installed(PEERS["dkron"], tmp_path / "cache")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jobs be due as soon as they are made."""
    monkeypatch.setattr(run, "LEAD_S", 1)
    monkeypatch.setattr(run, "BACKLOG_S", -5.0)
    monkeypatch.setattr(run, "SAMPLE_S", 0.05)


SENDS = """
import json, sys, threading, urllib.request
asked = json.load(open(sys.argv[-1]))
print("ready", flush=True)
for number, due in enumerate(asked["dues"]):
    told = {"X-Chronos-Scheduled-Time": "20270115T080000+0000", "Webhook-Id": str(number), "X-Chronos-Job-Id": "j"}
    urllib.request.urlopen(urllib.request.Request(asked["url"], b"{}", told)).read()
threading.Event().wait(60)
"""


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="CPU is read from /proc")
@pytest.mark.parametrize("jobs", [3])
@pytest.mark.usefixtures("at_once")
def test_a_driver_is_judged_by_what_the_target_saw(jobs: int, tmp_path: Path) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(SENDS)
    row = run.row_of(Peer(str(driver)), Work("burst", jobs, 1), tmp_path, grace_s=0.0)
    assert (row["expected"], row["arrived"], row["missing"], row["arrived_twice"]) == (jobs, jobs, 0, 0)
    assert set(row["cpu_s"]) == {"driver"}
    assert row["load_1m"] >= 0
    assert row["fsync_ms"] > 0
    assert row["others_cores"] >= 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise SystemExit('there is no such thing')", "there is no such thing"),
        ("pass", "it ended at once"),
    ],
)
def test_a_driver_that_ends_at_once_is_a_row_that_says_why(text: str, reason: str, tmp_path: Path) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(text)
    assert run.row_of(Peer(str(driver)), BURST, tmp_path, grace_s=0.0)["not_run"] == reason


def test_a_driver_that_makes_its_jobs_too_late_is_a_row_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "LEAD_S", -100)
    driver = tmp_path / "driver.py"
    driver.write_text("print('ready', flush=True)")
    row = run.row_of(Peer(str(driver)), BURST, tmp_path, grace_s=0.0)
    assert "s longer than there was until they were due" in row["not_run"]


def test_the_last_line_is_one_object_with_a_row_for_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda program: None)
    asked = ["--only", "celery-redis", "--only", "dkron", "--shape", "burst", "--jobs", "7"]
    assert command.main(asked) == 0
    *text, last = capsys.readouterr().out.splitlines()
    found = msgspec.json.decode(last, type=dict[str, Any])
    assert [(row["peer"], row["jobs"]) for row in found["peers"]] == [("celery-redis", 7), ("dkron", 7)]
    assert "celery-redis was not run: redis-server not found (on Debian: apt-get install redis-server)" in text
    assert command.main([*asked, "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_sizes_that_make_no_sense_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(["--jobs", "0"])
    assert refused.value.code == 2
    assert "at least 1" in capsys.readouterr().err


def test_a_request_says_its_instant_without_colons(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = runpy.run_path(str(DRIVERS / "hook.py"))["headers"]("job-1", BEGIN + 0.25)
    assert not any(":" in value for value in headers.values())
    assert datetime.fromisoformat(headers["X-Chronos-Scheduled-Time"]).timestamp() == BEGIN + 0.25


def test_dkron_is_given_each_instant_and_a_recurring_job_six_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DRIVERS)
    monkeypatch.delitem(sys.modules, "hook", raising=False)
    body = runpy.run_path(str(DRIVERS / "dkron_agent.py"))["body"]
    once = body({"shape": "burst", "url": "http://127.0.0.1:1/"}, 3, float(BEGIN))
    assert once["schedule"] == "@at 2027-01-15T08:00:00+00:00"
    assert json.loads(once["executor_config"]["headers"])[2] == "X-Chronos-Job-Id: job-3"
    assert body({"shape": "every-second", "url": "x"}, 3, float(BEGIN))["schedule"] == "* * * * * *"
