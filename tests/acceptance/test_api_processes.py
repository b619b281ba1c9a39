"""A server whose API runs in processes of its own: who answers, who goes with whom, and what a crash takes."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.acceptance.served import Served, answering, served

JSON = {"Content-Type": "application/json"}
TWO = {"CHRONOS_SERVER__PROCESSES": "2"}
PATIENCE_S = 30.0
TRIES = 600


def ask(server: Served, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
    """Make one request over a connection of its own, so that any process may get it."""
    data = None if body is None else json.dumps(body)
    return requests.request(method, server.url + path, data=data, headers={**JSON, **headers}, timeout=PATIENCE_S)


def children(pid: int) -> list[int]:
    """Return the ids of a server's API processes."""
    tasks = Path(f"/proc/{pid}/task")
    found = [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]
    return sorted(child for child in found if "chronos.server.processes" in command(child))


def command(pid: int) -> str:
    """Return what a process was started with; nothing when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(is_so: Any) -> None:
    """Return when it is so; a test that waits in vain fails."""
    turn = threading.Event()
    for _ in range(TRIES):
        if is_so():
            return
        turn.wait(PATIENCE_S / TRIES)
    raise AssertionError("it never came to that")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("processes") / "data", env=TWO) as running:
        yield running


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with answering() as url:
        yield url


def test_the_api_runs_in_as_many_processes_as_asked_for(server: Served) -> None:
    assert len(children(server.process.pid)) == 2
    assert ask(server, "GET", "/health").json()["status"] == "healthy"
    assert ask(server, "GET", "/ready").json()["ready"]


def test_what_is_written_through_one_process_is_read_through_any(server: Served, target: str) -> None:
    for round_ in range(20):
        name = f"read-your-writes-{round_}"
        made = ask(server, "POST", "/api/v1/jobs", {"name": name, "schedule": "@daily", "webhook": {"url": target}})
        read = ask(server, "GET", f"/api/v1/jobs/{name}")
        assert (made.status_code, read.status_code) == (201, 200), read.text
        assert read.headers["ETag"] == made.headers["ETag"]
        assert name in [job["name"] for job in ask(server, "GET", f"/api/v1/jobs?text={name}").json()["jobs"]]
        run = ask(server, "POST", f"/api/v1/jobs/{name}/trigger").json()
        assert ask(server, "GET", f"/api/v1/executions/{run['id']}").json()["id"] == run["id"]
        listed = ask(server, "GET", f"/api/v1/jobs/{name}/executions").json()["executions"]
        assert [one["id"] for one in listed] == [run["id"]]
        gone = ask(server, "DELETE", f"/api/v1/jobs/{name}")
        assert (gone.status_code, ask(server, "GET", f"/api/v1/jobs/{name}").status_code) == (200, 404)


def test_nobody_reads_what_is_older_than_what_he_was_told(server: Served, target: str) -> None:
    def go(number: int) -> list[str]:
        name, wrong = f"told-{number}", []
        document = {"name": name, "schedule": "@yearly", "webhook": {"url": target}}
        told = int(ask(server, "POST", "/api/v1/jobs", document).json()["revision"])
        for turn in range(15):
            read = ask(server, "GET", f"/api/v1/jobs/{name}").json()
            listed = ask(server, "GET", f"/api/v1/jobs?text={name}").json()["jobs"]
            seen = [read["revision"], *(job["revision"] for job in listed)]
            if seen != [told, told]:
                wrong.append(f"{name} turn {turn}: told {told}, read {seen}")
            patch = {"description": f"turn {turn}"}
            told = ask(server, "PATCH", f"/api/v1/jobs/{name}", patch, **{"If-Match": "*"}).json()["revision"]
        return wrong

    with ThreadPoolExecutor(6) as pool:
        assert [line for lines in pool.map(go, range(6)) for line in lines] == []


def test_a_server_that_hangs_is_not_said_to_be_well(server: Served) -> None:
    server.process.send_signal(signal.SIGSTOP)
    try:
        stopped = ask(server, "GET", "/ready")
    finally:
        server.process.send_signal(signal.SIGCONT)

    assert (stopped.status_code, stopped.json()["type"]) == (503, "main-gone")
    assert stopped.headers["Retry-After"]
    until(lambda: ask(server, "GET", "/ready").status_code == 200)


def test_refusals_are_those_of_a_server_without_processes(server: Served) -> None:
    assert ask(server, "GET", "/api/v1/jobs", Host="evil.example").status_code == 421
    assert ask(server, "GET", "/api/v1/jobs", Origin="https://evil.example").status_code == 403
    assert ask(server, "GET", "/nowhere").status_code == 404
    assert ask(server, "DELETE", "/health").status_code == 405
    assert ask(server, "POST", "/api/v1/jobs", {}, **{"Content-Type": "text/plain"}).status_code == 415
    assert ask(server, "GET", "/api/v1/jobs?api_key=secret").status_code == 400
    large = requests.post(f"{server.url}/api/v1/jobs", data=b"x" * (2 << 20), headers=JSON, timeout=PATIENCE_S)
    assert (large.status_code, large.json()["type"]) == (413, "payload-too-large")


def test_a_large_body_goes_through_in_pieces_and_a_long_answer_too(server: Served, target: str) -> None:
    lines = "".join(
        json.dumps({"name": f"bulk-{n}", "schedule": "@yearly", "webhook": {"url": target}, "description": "x" * 900})
        + "\n"
        for n in range(1_000)
    )
    kind = {"Content-Type": "application/x-ndjson"}
    made = requests.post(f"{server.url}/api/v1/jobs:batch", data=lines, headers=kind, timeout=60).json()
    assert made["succeeded"] == 1_000

    exported = requests.get(f"{server.url}/api/v1/export", timeout=60).text
    assert exported.endswith("\n")
    assert sum("bulk-" in line for line in exported.splitlines()) >= 1_000


def test_a_stream_tells_what_happens(server: Served, target: str) -> None:
    ask(server, "POST", "/api/v1/jobs", {"name": "watched", "schedule": "@yearly", "webhook": {"url": target}})
    with requests.get(f"{server.url}/api/v1/executions/stream?job=watched", stream=True, timeout=PATIENCE_S) as stream:
        lines: Iterator[Any] = stream.iter_lines(decode_unicode=True)
        assert next(lines) == ": watching"
        run = ask(server, "POST", "/api/v1/jobs/watched/trigger").json()["id"]
        told = next(line for line in lines if line.startswith("data: "))
    assert json.loads(told.removeprefix("data: "))["id"] == run


def said_of_health(server: Served) -> str:
    """Return what a client hears: `200`, `cut off` on the process that died, or `refused` where nobody listens."""
    try:
        return str(ask(server, "GET", "/health").status_code)
    except requests.ConnectionError as exc:
        return "refused" if "refused" in str(exc).lower() else "cut off"


def test_what_processes_count_is_in_the_metrics_once(server: Served) -> None:
    for _ in range(7):
        assert ask(server, "GET", "/api/v1/calendars/nobody").status_code == 404
        assert ask(server, "GET", "/api/v1/jobs/nobody/versions").status_code == 404

    def counted() -> list[str]:
        page = ask(server, "GET", "/metrics").text
        return [line for line in page.splitlines() if "requests_total" in line and 'status="404"' in line]

    local = 'chronos_http_requests_total{method="GET",path="/api/v1/calendars/{calendar}",status="404"} 7.0'
    passed_on = 'chronos_http_requests_total{method="GET",path="/api/v1/jobs/{job}/versions",status="404"} 7.0'
    until(lambda: {local, passed_on} <= set(counted()))


def test_a_process_that_dies_is_replaced_and_clients_meet_a_queue_and_no_refusal(server: Served) -> None:
    before = children(server.process.pid)
    os.kill(before[0], signal.SIGKILL)

    assert [said_of_health(server) for _ in range(20)].count("refused") == 0
    until(lambda: len(set(children(server.process.pid)) - set(before)) == 1)
    assert before[0] not in children(server.process.pid)
    assert "api_process_ended" in server.said()
    assert 'chronos_api_process_restarts_total{process="1"} 1.0' in ask(server, "GET", "/metrics").text


def test_a_process_does_not_end_because_somebody_asks_it_to(server: Served) -> None:
    one = children(server.process.pid)[0]
    os.kill(one, signal.SIGTERM)
    os.kill(one, signal.SIGINT)

    assert ask(server, "GET", "/ready").status_code == 200
    assert is_there(one)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_server(tmp_path: Path, how: signal.Signals) -> None:
    server = Served(tmp_path / "data", env=TWO)
    processes = children(server.process.pid)
    assert len(processes) == 2

    server.process.send_signal(how)  # once: asked twice it does not finish what it does
    server.process.wait(PATIENCE_S)
    code = server.stop()

    assert code == (0 if how is signal.SIGTERM else -signal.SIGKILL)
    until(lambda: not any(map(is_there, processes)))


def test_a_server_that_was_killed_starts_again_where_it_was(tmp_path: Path) -> None:
    first = Served(tmp_path / "data", env=TWO)
    first.process.kill()
    first.stop()

    with served(tmp_path / "data", env=TWO) as second:
        assert ask(second, "GET", "/ready").json()["ready"]


def test_a_port_that_is_taken_is_said_before_any_process_is_started(server: Served, tmp_path: Path) -> None:
    port = server.url.rpartition(":")[2]
    with pytest.raises(AssertionError, match="Another process listens there"):
        Served(tmp_path / "data", "--http-address", f"127.0.0.1:{port}", env=TWO)
