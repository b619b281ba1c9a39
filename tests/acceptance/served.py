"""A real `chronos server` for tests that block, and a target that answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.dose import PROOF

STOP_S = 40.0
WORKERS = "CHRONOS_DISPATCHER__WORKERS"
PROCESSES = os.environ.get("CHRONOS_TEST_API_PROCESSES", "1" if PROOF else "0")
"""With how many API processes servers are started that do not say it themselves: `make proof` runs what `make test`
runs without any."""


class Served:
    """A server in a process of its own, on a free port. It delivers itself, unless `workers` do."""

    def __init__(self, folder: Path, *arguments: str, env: dict[str, str] | None = None, workers: str = "0") -> None:
        command = [sys.executable, "-m", "chronos.cli.server", "server", "--data-dir", str(folder)]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHRONOS_")}
        self.log = folder.with_suffix(".log").open("w+")
        self.process = subprocess.Popen(
            [*command, "--http-address", "127.0.0.1:0", *arguments],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**inherited, "CHRONOS_SERVER__PROCESSES": PROCESSES, **(env or {})},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            self.process.wait(STOP_S)
            raise AssertionError(f"the server did not start: {self.said()}")
        self.url = line.split()[1]

    def said(self) -> str:
        """Return its log so far."""
        self.log.flush()
        return Path(self.log.name).read_text()

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.log.close()
        return code


@contextmanager
def served(folder: Path, *arguments: str, env: dict[str, str] | None = None, workers: str = "0") -> Iterator[Served]:
    """Run a server for as long as the block lasts; it has to end well."""
    server = Served(folder, *arguments, env=env, workers=workers)
    try:
        yield server
    finally:
        code = server.stop()
    assert code == 0, code


class _Yes(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(length)
        status = 400 if self.path == "/no" else 200
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_GET = do_PUT = do_POST  # noqa: N815  # the names are http.server's

    def log_message(self, *_: object) -> None:
        """Tests have a log of their own."""


@contextmanager
def answering() -> Iterator[str]:
    """Run a target on loopback that says yes, and no at `/no`; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Yes)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
