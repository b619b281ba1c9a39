"""What a program prints is read back over the API, while it runs and afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests
from tests.acceptance.served import Served, served

ALLOWED = {
    "CHRONOS_AUTH__TYPE": "api_key",
    "CHRONOS_DISPATCHER__PROCESS__ENABLED": "true",
    "CHRONOS_DISPATCHER__PROCESS__ALLOW_SAME_USER": "true",
    "CHRONOS_DISPATCHER__PROCESS__ENV_ALLOW": "PATH,CITY",
    "CITY": "Tromsø",
}
NO_PROGRESS = {"progress": None, "message": ""}
AS_ROOT = os.geteuid() == 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "data", env=ALLOWED, workers="1") as running:
        yield running


@pytest.fixture
def asking(tmp_path: Path, server: Served) -> requests.Session:
    """The administrator: programs need a caller that is known."""
    session = requests.Session()
    session.headers["X-API-Key"] = (tmp_path / "data/admin.key").read_text().strip()
    return session


def run(asking: requests.Session, server: Served, script: str, *, wait: str = "?wait=20s", **more: Any) -> Any:
    """Create a job that runs `script`, run it once, and return the execution."""
    target: dict[str, Any] = {"type": "process", "argv": ["sh", "-c", script], **more}
    if AS_ROOT:
        target["run_as"] = "nobody"
    job: dict[str, Any] = {
        "name": "prints",
        "schedule": "@yearly",
        "target": target,
        "retry_policy": {"max_attempts": 1},
    }
    created = asking.post(f"{server.url}/api/v1/jobs", json=job, timeout=10)
    assert created.status_code == 201, created.text
    return asking.post(f"{server.url}/api/v1/jobs/prints/trigger{wait}", json={}, timeout=30).json()


def events(answer: requests.Response) -> Iterator[tuple[str, Any]]:
    """Yield (event, data) of a stream of server-sent events."""
    name = ""
    for line in answer.iter_lines(chunk_size=1):
        field, _, value = line.decode().partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_the_output_of_a_program_is_its_log(asking: requests.Session, server: Served) -> None:
    ended = run(asking, server, "echo hello; echo oh >&2; echo $CITY", env_allow=["CITY"])
    assert ended["status"] == "success", ended
    answer = asking.get(f"{server.url}/api/v1/executions/{ended['id']}/logs", timeout=10).json()
    assert answer["logs"] == [{"attempt": 1, "text": "hello\noh\nTromsø\n", "is_excerpt": False, **NO_PROGRESS}]


def test_more_output_than_an_attempt_keeps_is_in_the_log(asking: requests.Session, server: Served) -> None:
    ended = run(asking, server, "yes 0123456789abcde | head -n 20000")
    [entry] = asking.get(f"{server.url}/api/v1/executions/{ended['id']}/logs", timeout=10).json()["logs"]
    assert entry["text"] == "0123456789abcde\n" * 20_000


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can look into; pytest's own are closed to them."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_output_is_followed_while_the_program_runs(asking: requests.Session, server: Served, open_folder: Path) -> None:
    go = open_folder / "go"
    begun = run(asking, server, f"echo first; while [ ! -e {go} ]; do sleep 0.1; done; echo second", wait="")
    url = f"{server.url}/api/v1/executions/{begun['id']}/logs?follow=true"
    with asking.get(url, stream=True, timeout=30) as answer:
        heard = events(answer)
        assert next(heard) == ("output", {"attempt": 1, "offset": 0, "text": "first\n"})
        go.touch()
        assert list(heard) == [
            ("output", {"attempt": 1, "offset": 6, "text": "second\n"}),
            ("log", {"attempt": 1, "text": "first\nsecond\n", "is_excerpt": False, **NO_PROGRESS}),
            ("end", {"status": "success"}),
        ]
