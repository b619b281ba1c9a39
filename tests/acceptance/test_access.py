"""A server that asks who is there: keys, passwords, the page, and credentials that never come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import requests
from tests.acceptance.served import Served, answering, served

CANARY = "canary-5e1f"
JSON = {"Content-Type": "application/json"}
CONFIG = """
auth:
  type: basic
  users:
    ann: {hashed}
    vic: {{password: {hashed}, roles: [viewer]}}
dispatcher:
  concurrency: {{per_job_limit: 3}}
  process: {{enabled: true, allow_same_user: true}}
server:
  http: {{max_body_bytes: 65536}}
"""


class Locked:
    """A server with a lock, and the key to it."""

    def __init__(self, server: Served, key: str, target: str) -> None:
        self.server = server
        self.key = key
        self.target = target
        self.session = requests.Session()
        self.session.trust_env = False

    def ask(self, method: str, path: str, body: Any = None, **how: Any) -> requests.Response:
        how.setdefault("headers", {"X-API-Key": self.key} if "auth" not in how else {})
        how["headers"] = {**JSON, **how["headers"]}
        data = None if body is None else json.dumps(body)
        return self.session.request(method, self.server.url + path, data=data, timeout=70, **how)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    folder = tmp_path_factory.mktemp("access")
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(5)).decode()
    config = folder / "chronos.yaml"
    config.write_text(CONFIG.format(hashed=json.dumps(hashed)))
    with answering() as target, served(folder / "data", "--config", str(config)) as server:
        yield Locked(server, (folder / "data" / "admin.key").read_text().strip(), target)


def test_the_page_opens_without_a_key_and_what_it_shows_does_not(locked: Locked) -> None:
    for path in ("/", "/app.js", "/style.css", "/favicon.svg"):
        answer = locked.ask("GET", path, headers={})
        assert answer.status_code == 200
        assert "no-store" in answer.headers["cache-control"] or "no-cache" in answer.headers["cache-control"]
    for path in ("/api/v1/jobs", "/api/v1/executions", "/api/v1/executions/stream", "/openapi.json", "/index.html"):
        refused = locked.ask("GET", path, headers={})
        assert refused.status_code == 401, path
        assert "Basic" not in refused.headers["www-authenticate"], "browsers would put a window of their own in between"


@pytest.mark.parametrize(
    ("user", "password", "status"), [("ann", "right", 200), ("ann", "wrong", 401), ("x", "y", 401)]
)
def test_users_of_the_configuration_come_in_with_their_password(
    locked: Locked, user: str, password: str, status: int
) -> None:
    assert locked.ask("GET", "/api/v1/whoami", auth=(user, password)).status_code == status


def test_a_user_with_roles_may_what_the_roles_may(locked: Locked) -> None:
    assert locked.ask("GET", "/api/v1/jobs", auth=("vic", "right")).status_code == 200
    assert locked.ask("DELETE", "/api/v1/jobs/x", auth=("vic", "right")).status_code == 403


def test_who_keeps_guessing_is_told_to_wait(locked: Locked) -> None:
    answers = [locked.ask("GET", "/api/v1/whoami", auth=("guessed", str(n))) for n in range(12)]

    assert [answer.status_code for answer in answers[:10]] == [401] * 10
    assert answers[-1].status_code == 429
    assert 0 < int(answers[-1].headers["retry-after"]) <= 61


def test_the_environment_of_a_program_never_comes_back(locked: Locked, tmp_path: Path) -> None:
    env = {"DB_PASSWORD": f"{CANARY}-1", "MODE": f"{CANARY}-2", "TOKEN": "${secret:env:TOKEN}", "NONE": ""}
    document = {"name": "program", "schedule": "@daily", "target": {"type": "process", "argv": ["env"], "env": env}}
    created = locked.ask("POST", "/api/v1/jobs", document)
    assert created.status_code == 201, created.text
    shown = {"DB_PASSWORD": "***", "MODE": "***", "TOKEN": "${secret:env:TOKEN}", "NONE": ""}
    assert created.json()["target"]["env"] == shown

    # Written back as it was shown, it stays; one value can be changed alone.
    etag = {"X-API-Key": locked.key, "If-Match": '"1"'}
    patch = {"target": {"env": {"MODE": f"{CANARY}-3"}}}
    assert locked.ask("PATCH", "/api/v1/jobs/program", patch, headers=etag).status_code == 200
    texts = [locked.ask("GET", path).text for path in _wherever("program")]
    with locked.session.get(
        f"{locked.server.url}/api/v1/executions/stream", headers={"X-API-Key": locked.key}, stream=True, timeout=10
    ) as stream:
        locked.ask("POST", "/api/v1/jobs/program/disable")
        texts.append(next(line.decode() for line in stream.iter_lines() if line.startswith(b"data")))
    ran = locked.ask("POST", "/api/v1/jobs/program/trigger?wait=20s")
    texts += [ran.text, locked.ask("GET", f"/api/v1/executions/{ran.json()['id']}/logs").text, locked.server.said()]

    assert [text for text in texts if CANARY in text] == []


def _wherever(job: str) -> list[str]:
    """Every place a job's document is shown."""
    one = f"/api/v1/jobs/{job}"
    versions = ["versions", "versions/1", "versions/2", "versions/diff?from=1&to=2"]
    return ["/api/v1/jobs", one, *(f"{one}/{path}" for path in versions), f"{one}/executions", "/api/v1/cluster/status"]


@pytest.mark.parametrize(
    "where",
    [
        {"webhook": {"url": "https://user:pw@host.example/"}},
        {"webhook": {"url": "https://host.example/", "cancel_url": "https://user:pw@host.example/"}},
        {"on_unknown": "probe", "probe_url": "https://user:pw@host.example/"},
        {"notify": {"channels": [{"type": "webhook", "url": "https://user:pw@host.example/"}]}},
        {"notify": {"channels": [{"type": "webhook", "url": "https://user:pw@${secret:env:HOST}/"}]}},
    ],
)
def test_credentials_in_an_address_are_refused(locked: Locked, where: dict[str, Any]) -> None:
    document = {"name": "inside", "schedule": "@daily", "webhook": {"url": locked.target}, **where}
    refused = locked.ask("POST", "/api/v1/jobs", document)

    assert refused.status_code == 422, refused.text
    assert refused.json()["field"].endswith("url")
    assert "user name or password" in refused.json()["detail"]
    assert "pw@" not in refused.text


def test_a_credential_in_an_address_that_is_tried_out_is_refused_too(locked: Locked) -> None:
    refused = locked.ask("POST", "/api/v1/webhooks/test", {"url": "https://user:pw@host.example/"})

    assert (refused.status_code, refused.json()["field"]) == (422, "url")
    assert "auth: {type: basic" in refused.json()["detail"]


def test_a_job_may_not_run_more_at_once_than_the_server_lets_it(locked: Locked) -> None:
    document = {"name": "wide", "schedule": "@daily", "concurrency": "allow", "webhook": {"url": locked.target}}

    refused = locked.ask("POST", "/api/v1/jobs", {**document, "max_concurrent": 4})
    assert (refused.status_code, refused.json()["field"]) == (422, "max_concurrent")
    assert "per_job_limit" in refused.json()["detail"]
    assert locked.ask("POST", "/api/v1/jobs", document).json()["max_concurrent"] == 3


def test_a_body_larger_than_the_configuration_allows_is_refused(locked: Locked) -> None:
    refused = locked.ask("POST", "/api/v1/jobs", {"name": "big", "description": "x" * 70_000})

    assert refused.status_code == 413
    assert "max_body_bytes" in refused.json()["detail"]
