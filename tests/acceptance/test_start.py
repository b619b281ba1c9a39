"""Starting and stopping: the demo, the refusals, the exit codes, the drain."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.acceptance.served import Served, answering, served

JSON = {"Content-Type": "application/json"}
PATIENCE_S = 20.0


def start(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `chronos server` to its end, which has to come by itself."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHRONOS_")}
    return subprocess.run(
        [sys.executable, "-m", "chronos.cli.server", "server", "--data-dir", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**clean, **(env or {})},
        check=False,
    )


def until(what: object, seconds: float = PATIENCE_S) -> None:
    """Ask `what` until it says yes."""
    deadline = time.monotonic() + seconds
    while not what():  # type: ignore[operator]  # a callable
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def jobs(server: Served) -> list[str]:
    return [job["name"] for job in requests.get(f"{server.url}/api/v1/jobs", timeout=10).json()["jobs"]]


def test_the_demo_shows_life_at_once_and_vanishes_without_its_flag(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with served(folder, "--demo") as server:
        assert jobs(server) == ["demo-flaky", "demo-heartbeat", "demo-once"]
        url = f"{server.url}/api/v1/jobs/demo-heartbeat/executions?status=success"
        until(lambda: requests.get(url, timeout=10).json()["executions"])
        flaky = requests.post(
            f"{server.url}/api/v1/jobs/demo-flaky/trigger?wait=20s&force=true", headers=JSON, timeout=30
        ).json()
        assert flaky["status"] == "success"
    with served(folder) as server:
        assert jobs(server) == []
        history = requests.get(f"{server.url}/api/v1/executions", timeout=10).json()["executions"]
        assert history, "what has run stays"


def test_a_demo_that_others_could_reach_is_refused(tmp_path: Path) -> None:
    ended = start(tmp_path / "data", "--demo", "--insecure", "--http-address", "0.0.0.0:0")

    assert ended.returncode == 2
    assert "loopback" in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full: a device that takes nothing")
def test_a_node_works_though_nobody_can_read_that_it_is_ready(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["--data-dir", str(tmp_path / "data"), "--http-address", address]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        server = subprocess.Popen(
            [sys.executable, "-m", "chronos.cli.server", "server", *words], stdout=full, stderr=full, env=environment
        )
    try:
        until(lambda: _is_ready(address))
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 0, "what was lost is not what it was asked for"
    finally:
        server.kill()
        server.wait()


def _is_ready(address: str) -> bool:
    try:
        return requests.get(f"http://{address}/ready", timeout=10).status_code == 200
    except requests.ConnectionError:
        return False


def test_everybody_on_the_network_is_let_in_only_on_purpose(tmp_path: Path) -> None:
    ended = start(tmp_path / "data", "--http-address", "0.0.0.0:0", env={"CHRONOS_AUTH__TYPE": "none"})

    assert ended.returncode == 2
    assert "--insecure" in ended.stderr


def test_beyond_loopback_a_key_is_asked_for_without_being_told(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with served(folder, "--http-address", "0.0.0.0:0") as server:
        port = server.url.rpartition(":")[2]
        local = f"http://127.0.0.1:{port}"
        assert requests.get(f"{local}/health", timeout=10).status_code == 200
        assert requests.get(f"{local}/ready", timeout=10).status_code == 200
        refused = requests.get(f"{local}/api/v1/jobs", timeout=10)
        assert (refused.status_code, refused.json()["type"]) == (401, "unauthenticated")
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert requests.get(f"{local}/", timeout=10).status_code == 200  # the page holds nothing; it asks for a key
        assert requests.get(f"{local}/openapi.json", timeout=10).status_code == 401
        key = (folder / "admin.key").read_text().strip()
        assert requests.get(f"{local}/api/v1/jobs", headers={"X-API-Key": key}, timeout=10).status_code == 200


def test_with_authentication_every_route_but_the_public_ones_asks_for_a_key(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with served(folder, env={"CHRONOS_AUTH__TYPE": "api_key"}) as server:
        key = {"X-API-Key": (folder / "admin.key").read_text().strip()}
        document = requests.get(f"{server.url}/openapi.json", headers=key, timeout=10).json()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                url = server.url + path.replace("{", "").replace("}", "")
                status = requests.request(method, url, headers=JSON, timeout=10).status_code
                assert (status != 401) == (operation["x-permission"] == "public"), (method, path, status)


def test_secrets_are_readable_by_the_servers_user_only(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with served(folder):
        for path in [folder, *folder.rglob("*")]:
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_a_second_server_on_the_same_folder_names_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with served(folder) as server:
        ended = start(folder, "--http-address", "127.0.0.1:0")
        assert ended.returncode == 75
        assert str(server.process.pid) in ended.stderr


def test_a_taken_port_is_told_with_what_to_do(tmp_path: Path) -> None:
    with served(tmp_path / "one") as server:
        ended = start(tmp_path / "two", "--http-address", server.url.removeprefix("http://"))
        assert ended.returncode == 2
        assert "127.0.0.1:0" in ended.stderr


def test_a_wrong_key_in_the_file_is_told_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "chronos.yaml"
    file.write_text("cluster:\n  node_id: a\nscheduler:\n  execution_timout: 1m\n")
    ended = start(tmp_path / "data", "--config", str(file))

    assert ended.returncode == 2
    assert "line 4" in ended.stderr
    assert "`execution_timeout`" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


class _Slow(BaseHTTPRequestHandler):
    began = threading.Event()
    let_go = threading.Event()

    def do_POST(self) -> None:
        self.began.set()
        self.let_go.wait(PATIENCE_S)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Tests have a log of their own."""


def test_a_run_that_is_under_way_at_sigterm_may_end_and_is_not_sent_again(tmp_path: Path) -> None:
    target = ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    thread = threading.Thread(target=target.serve_forever, daemon=True)
    thread.start()
    folder = tmp_path / "data"
    try:
        server = Served(folder)
        webhook = {"url": f"http://127.0.0.1:{target.server_port}/"}
        document: dict[str, Any] = {"name": "slow", "schedule": "@yearly", "webhook": webhook}
        requests.post(f"{server.url}/api/v1/jobs", json=document, timeout=10)
        run = requests.post(f"{server.url}/api/v1/jobs/slow/trigger", headers=JSON, timeout=10).json()
        assert _Slow.began.wait(PATIENCE_S)

        server.process.send_signal(signal.SIGTERM)
        until(lambda: requests.get(f"{server.url}/ready", timeout=10).status_code == 503)
        refused = requests.post(f"{server.url}/api/v1/jobs/slow/trigger", headers=JSON, timeout=10)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        _Slow.let_go.set()
        assert server.process.wait(PATIENCE_S) == 0
        server.stop()
        with served(folder) as again:
            ended = requests.get(f"{again.url}/api/v1/executions/{run['id']}", timeout=10).json()
            assert (ended["status"], len(ended["attempts"])) == ("success", 1)
    finally:
        _Slow.let_go.set()
        target.shutdown()
        target.server_close()


def test_a_run_that_outlasts_the_drain_is_sent_again_under_its_id(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    silent = ThreadingHTTPServer(("127.0.0.1", 0), _Slow)  # accepts, and is never served
    try:
        server = Served(folder, env={"CHRONOS_SERVER__DRAIN": "200ms"})
        webhook = {"url": f"http://127.0.0.1:{silent.server_port}/"}
        document: dict[str, Any] = {"name": "cut", "schedule": "@yearly", "webhook": webhook}
        requests.post(f"{server.url}/api/v1/jobs", json=document, timeout=10)
        run = requests.post(f"{server.url}/api/v1/jobs/cut/trigger", headers=JSON, timeout=10).json()
        until(lambda: requests.get(f"{server.url}/api/v1/executions/{run['id']}", timeout=10).json()["attempts"])
        assert server.stop() == 0
        with served(folder, env={"CHRONOS_SERVER__DRAIN": "200ms"}) as again:
            url = f"{again.url}/api/v1/executions/{run['id']}"
            until(lambda: len(requests.get(url, timeout=10).json()["attempts"]) == 2)
            assert requests.get(url, timeout=10).json()["attempts"][0]["status"] == "unknown"
    finally:
        silent.server_close()


def test_a_second_signal_ends_it_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    silent = ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    try:
        server = Served(folder)
        document: dict[str, Any] = {
            "name": "kept",
            "schedule": "@yearly",
            "webhook": {"url": f"http://127.0.0.1:{silent.server_port}/"},
        }
        requests.post(f"{server.url}/api/v1/jobs", json=document, timeout=10)
        requests.post(f"{server.url}/api/v1/jobs/kept/trigger", headers=JSON, timeout=10)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: requests.get(f"{server.url}/ready", timeout=10).status_code == 503)
        assert server.stop() == 128 + signal.SIGTERM
        with served(folder, env={"CHRONOS_SERVER__DRAIN": "0s"}) as again:
            assert jobs(again) == ["kept"]
    finally:
        silent.server_close()


def a_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return cert_file, key_file


def test_the_listener_speaks_tls(tmp_path: Path) -> None:
    cert_file, key_file = a_certificate(tmp_path)
    file = tmp_path / "chronos.yaml"
    tls = {"enabled": True, "cert_file": str(cert_file), "key_file": str(key_file)}
    file.write_text(json.dumps({"server": {"http": {"tls": tls}}}))

    with served(tmp_path / "data", "--config", str(file)) as server:
        assert server.url.startswith("https://")
        url = server.url.replace("127.0.0.1", "localhost")
        assert requests.get(f"{url}/health", verify=str(cert_file), timeout=10).status_code == 200


def test_a_certificate_without_its_key_is_told(tmp_path: Path) -> None:
    cert_file, _ = a_certificate(tmp_path)
    tls = {"CHRONOS_SERVER__HTTP__TLS__ENABLED": "true", "CHRONOS_SERVER__HTTP__TLS__CERT_FILE": str(cert_file)}
    ended = start(tmp_path / "data", env=tls)

    assert ended.returncode == 2
    assert "key_file" in ended.stderr


def test_the_first_job_of_the_documentation_fires_on_its_second(tmp_path: Path) -> None:
    with answering() as target, served(tmp_path / "data") as server:
        document: dict[str, Any] = {"name": "hello", "schedule": "@every 1s", "webhook": {"url": f"{target}/yes"}}
        assert requests.post(f"{server.url}/api/v1/jobs", json=document, timeout=10).status_code == 201
        url = f"{server.url}/api/v1/jobs/hello/executions?status=success"
        until(lambda: len(requests.get(url, timeout=10).json()["executions"]) >= 3)


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_the_command_explains_itself(flag: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "chronos.cli.server", flag],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert ended.returncode == 0
    assert "chronos" in ended.stdout.lower()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [(["--help"], 0, "Say why a job ran at an instant"), (["nightly", "--at", "yesterday"], 2, "is no instant")],
)
def test_why_a_job_ran_can_be_asked_of_the_server_s_command_too(arguments: list[str], code: int, said: str) -> None:
    command = [sys.executable, "-m", "chronos.cli.server", "explain", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == code
    assert said in ended.stdout + ended.stderr
