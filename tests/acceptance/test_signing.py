"""A server that signs: its own key for jobs without a secret, a job's secrets for that job, and neither ever shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from tests.acceptance.served import Served, served

from chronos.client import Client
from chronos.client.operations import job as read_job
from chronos.client.webhooks import WebhookNotTrusted, verify
from chronos.model.signing import new_key_pair, new_shared_secret
from chronos.timing.clock import SystemChance

WAIT = "30s"

Call = tuple[bytes, dict[str, str]]


@contextmanager
def echoing() -> Iterator[tuple[str, Queue[Call]]]:
    """Run a target that keeps what it gets and sends all of it back; yield its address and what it got."""
    calls: Queue[Call] = Queue()

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            calls.put((body, dict(self.headers.items())))
            answer = self.headers.as_bytes() + body
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", calls
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Town:
    """A signing server with a client and a target.

    Attributes:
        private: The server's own key, which it knows by reference.
    """

    def __init__(self, chronos: Served, client: Client, url: str, calls: Queue[Call], keys: tuple[str, str]) -> None:
        self.chronos, self.client, self.url, self._calls = chronos, client, url, calls
        self.private, self.public = keys

    def run(self, name: str, **target: Any) -> Call:
        """Create a job, run it once, and return what the target got."""
        job = self.client.create_job(
            {"name": name, "schedule": "@yearly", "target": {"type": "http", "url": self.url, "body": "{}", **target}}
        )
        assert self.client.trigger_job(job.id, wait=WAIT).status == "success"
        return self._calls.get(timeout=10)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("signing")
    config = folder / "chronos.yaml"
    config.write_text("dispatcher:\n  http:\n    signing_secret: ${secret:env:CHRONOS_SECRET_SIGNING}\n")
    private, public = keys = new_key_pair(SystemChance())
    with (
        echoing() as (url, calls),
        served(
            folder / "data", "--config", str(config), env={"CHRONOS_SECRET_SIGNING": private}, workers="1"
        ) as chronos,
        Client(chronos.url) as client,
    ):
        yield Town(chronos, client, url, calls, keys)
    assert public
    assert not [path for path in files_below(folder) if private.encode() in path.read_bytes()]


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_job_without_a_secret_is_signed_with_the_server_s_key(town: Town) -> None:
    body, headers = town.run("unsigned")
    run = verify(body, headers, town.public)
    assert run.id.startswith("occ_")
    assert run.attempt == 1
    assert run.fencing_token is not None


def test_a_job_s_own_secrets_sign_instead_and_are_shown_to_nobody(town: Town) -> None:
    new, old = new_shared_secret(SystemChance()), new_shared_secret(SystemChance())
    body, headers = town.run("signed", signing_secret=f"{new} {old};until=2100-01-01T00:00:00Z")
    for secret in (new, old):
        assert verify(body, headers, secret).id.startswith("occ_")
    with pytest.raises(WebhookNotTrusted):
        verify(body, headers, town.public)
    shown = json.dumps(town.client.fetch(read_job("signed")))
    assert '"signing_secret": "***"' in shown
    assert new not in shown
    data = Path(town.chronos.log.name).parent / "data"
    assert not [path for path in files_below(data) if new.encode() in path.read_bytes()]


def test_a_secret_that_can_sign_nothing_is_refused_when_the_job_is_written(town: Town) -> None:
    for wrong, words in (
        ("whsec_c2hvcnQ=", "24 to 64 bytes"),
        (f"{new_shared_secret(SystemChance())};until=2027-01-01", "until"),
    ):
        with pytest.raises(Exception, match=words):
            town.run("wrong", signing_secret=wrong)
