"""A server and a target for the tests that type commands, and the command line itself as people have it."""

from __future__ import annotations

import http.server
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_S = 30.0
STOP_S = 40.0
COMMAND_S = 60.0
WAIT_S = 20.0

PROGRAM = "from chronos.cli.chronosctl import main; main()"


@dataclass
class Done:
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """Types `chronosctl` commands at one server."""

    server: str
    home: Path
    data: Path
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *args: str, stdin: str = "") -> Done:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            env=self.environment,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CHRONOS_")}
        return {**kept, "HOME": str(self.home), "CHRONOS_SERVER": self.server, **self.env}

    def until(self, *args: str, holds: Any) -> Any:
        """Return the JSON of a command once `holds(it)`, asking again for a bounded time."""
        deadline = time.monotonic() + WAIT_S
        while True:
            found = self(*args, "-o", "json").json
            if holds(found):
                return found
            assert time.monotonic() < deadline, f"{args} still answers {found}"


@contextmanager
def server(folder: Path, config: str = "") -> Iterator[str]:
    """Run `chronos server` on a free port; yield its address."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "chronos.cli.server", "server"]
    command += ["--http-address", "127.0.0.1:0", "--data-dir", str(folder / "data")]
    if config:
        (folder / "chronos.yaml").write_text(config)
        command += ["--config", str(folder / "chronos.yaml")]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder)
        try:
            yield _ready(process, folder)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            finally:
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()


def _ready(process: subprocess.Popen[str], folder: Path) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + START_S
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            break
        line = process.stdout.readline()
        if line.startswith("ready "):
            return line.split()[1]
        if not line:
            break
    raise AssertionError(f"the server did not start:\n{(folder / 'server.log').read_text()[-4_000:]}")


class _Target(http.server.BaseHTTPRequestHandler):
    """Answers `/status/N` with N and everything else with 200."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        status = int(self.path.rpartition("/")[2]) if self.path.startswith("/status/") else 200
        body = f"you asked for {self.path}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def target() -> Iterator[str]:
    """Run a target on a free port; yield its address."""
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Target)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}"
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
