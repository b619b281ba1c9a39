"""The examples of the documentation, run as they stand there, against a server of their own.

A console example is run when its fence says so: ```console test=STORY. The examples of one story share a server and
run in the order of the page. Only the addresses are put in place: the server's for port 8080, a target's for port 9000.
A fence with `file=NAME` besides is written into the story's folder, and `config=STORY` is the story's configuration.
What is not run is in `tests/acceptance/test_doc_fences.py`, with the reason.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest
from tests.acceptance.fences import commands, fences

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
START_S = 30.0
COMMAND_S = 60.0
CALL_S = 20.0


# What a page takes for granted: jobs that are there before its first example.
BEFORE = {
    "roll-back": [
        "chronosctl job create nightly --schedule '0 2 * * *' --url http://127.0.0.1:9000/a",
        "chronosctl job update nightly --url http://127.0.0.1:9000/b --retries 4",
        "chronosctl job update nightly --schedule '0 3 * * *'",
    ],
    "ask-why": ["chronosctl job create nightly --schedule '30 2 * * *' --url http://127.0.0.1:9000/"],
    "prove": ["chronosctl job create nightly --schedule '* * * * * *' --url http://127.0.0.1:9000/"],
    "notify": ["chronosctl job create nightly --schedule '0 2 * * *' --url http://127.0.0.1:9000/"],
    "backup": ["chronosctl job create nightly --schedule '0 2 * * *' --url http://127.0.0.1:9000/"],
    "retries": ["chronosctl job create nightly --schedule '0 2 * * *' --url http://127.0.0.1:9000/"],
    "crontab": ["printf '0 2 * * * /bin/true\\n' > crontab.txt"],
}
# Beyond the defaults: what the demo shows, and where authentication is on the key of the first start.
FLAGS = {"first-job": ["--demo"]}


@dataclass(frozen=True)
class Step:
    """Something a story does: a command, or a file to write."""

    command: str = ""
    file: str = ""
    text: str = ""


def stories() -> dict[str, list[Step]]:
    """Return story → its steps, in the order they stand on the page."""
    found: dict[str, list[Step]] = {}
    for fence in fences():
        if story := fence.option("test"):
            steps = found.setdefault(story, [Step(command=command) for command in BEFORE.get(story, [])])
            if name := fence.option("file"):
                steps.append(Step(file=name, text=fence.text))
            else:
                steps += [Step(command=command) for command in commands(fence.text)]
    return found


def configuration(story: str) -> str:
    """Return the configuration that the page of a story gives its server; empty for the defaults."""
    return "".join(fence.text for fence in fences() if fence.option("config") == story)


@dataclass
class Call:
    """A request the target got."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)


@contextmanager
def target() -> Iterator[tuple[str, Queue[Call]]]:
    """Run an HTTP server that says yes to everything; yields its address and what it gets."""
    calls: Queue[Call] = Queue()

    class Yes(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            calls.put(Call(self.command, self.path, dict(self.headers.items())))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def log_message(self, *_: object) -> None:
            """The test's output is not the place for it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Yes) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", calls
        finally:
            server.shutdown()
            thread.join(10)


@contextmanager
def chronos(folder: Path, *flags: str) -> Iterator[str]:
    """Run a server with its data in `folder`; yields its address, and sees to it that it stops cleanly."""
    command = [f"{BIN}/chronos", "server", "--http-address", "127.0.0.1:0", "--data-dir", f"{folder}/data", *flags]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment(folder))
    try:
        yield address_of(server, folder / "log")
        server.send_signal(signal.SIGTERM)
        assert server.wait(45) == 0, (folder / "log").read_text()
    finally:
        if server.poll() is None:
            server.kill()
            server.wait(10)
        assert server.stdout is not None
        server.stdout.close()


def address_of(server: subprocess.Popen[str], log: Path) -> str:
    """Return the address in the line `ready http://…`."""
    assert server.stdout is not None
    readable, _, _ = select.select([server.stdout], [], [], START_S)
    line = server.stdout.readline() if readable else ""
    ready = re.fullmatch(r"ready (http://127\.0\.0\.1:\d+)\n", line)
    assert ready, f"the server said {line!r} instead of being ready:\n{log.read_text()[-4000:]}"
    return ready[1]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return what a newcomer's shell has: a path, a home of its own, nothing of ours."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    curl = tools / "curl"
    # An example whose request is refused is a broken example; curl alone would not say so.
    curl.write_text(f'#!/bin/sh\nexec "{shutil.which("curl")}" --fail-with-body --max-time 30 "$@"\n')
    curl.chmod(0o755)
    path = f"{tools}:{BIN}:/usr/local/bin:/usr/bin:/bin"
    return {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", "TERM": "dumb", **more}


def run(command: str, *, server: str, target: str, folder: Path) -> str:
    """Run one command of an example in bash; returns what it printed."""
    in_place = placed(command, server=server, target=target).replace(".venv/bin/", "")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", in_place],
        cwd=folder,
        env=environment(folder, CHRONOS_SERVER=server, CHRONOS_DATA_DIR=f"{folder}/data"),
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, f"$ {in_place}\n{done.stdout}{done.stderr}"
    return done.stdout


def placed(text: str, *, server: str, target: str) -> str:
    """Return an example with the addresses of this run."""
    text = text.replace("chronos://127.0.0.1:8080", server.replace("http://", "chronos://"))
    text = re.sub(r"http://127\.0\.0\.1:8080|(?<![\w/.])localhost:8080", server, text)
    return text.replace("http://127.0.0.1:9000", target)


@pytest.fixture(autouse=True)
def _curl() -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CHRONOS_REQUIRE_SERVICES"), "curl is missing; `make services` installs it"
        pytest.skip("curl is not installed")


@pytest.mark.parametrize("story", sorted(stories()))
def test_the_examples_of_a_story_work_one_after_the_other(story: str, tmp_path: Path) -> None:
    flags = list(FLAGS.get(story, []))
    if config := configuration(story):
        (tmp_path / "chronos.yaml").write_text(config)
        flags += ["--config", str(tmp_path / "chronos.yaml")]
    with target() as (there, _), chronos(tmp_path, *flags) as server:
        for step in stories()[story]:
            if step.file:
                (tmp_path / step.file).write_text(placed(step.text, server=server, target=there))
            else:
                run(step.command, server=server, target=there, folder=tmp_path)


def test_the_first_job_of_the_readme_arrives_with_the_headers_it_names(tmp_path: Path) -> None:
    with target() as (there, calls), chronos(tmp_path) as server:
        for step in stories()["curl"]:
            run(step.command, server=server, target=there, folder=tmp_path)
        try:
            call = calls.get(timeout=CALL_S)
        except Empty:
            pytest.fail(f"no call in {CALL_S:g} s: " + (tmp_path / "log").read_text()[-4000:])
        listed = run("curl -s 'http://127.0.0.1:8080/api/v1/jobs/hello'", server=server, target=there, folder=tmp_path)
    assert (call.method, call.path) == ("POST", "/hook")
    table = (ROOT / "README.md").read_text().partition("| header | holds |")[2]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    named = [name for cell in rows for name in re.findall(r"`([\w-]+)`", cell)]
    got = {name.lower(): value for name, value in call.headers.items()}
    assert len(named) >= 7
    assert [name for name in named if name.lower() not in got] == []
    assert got["idempotency-key"] == got["webhook-id"] == got["x-chronos-execution-id"]
    assert got["x-chronos-attempt"] == "1"
    assert got["x-chronos-job-id"] == json.loads(listed)["id"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", got["chronos-fencing-token"])


def test_the_listener_of_the_tutorial_prints_what_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [page] = [fence.text for fence in fences() if "class Listener" in fence.text]
    names: dict[str, Any] = {"__name__": "listener"}
    exec(page, names)
    names["Listener"].log_message = lambda *_: None
    with http.server.HTTPServer(("127.0.0.1", 0), names["Listener"]) as listener, chronos(tmp_path) as server:
        thread = threading.Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        channel = {"type": "webhook", "url": f"http://127.0.0.1:{listener.server_port}/alerts"}
        body = json.dumps({"channels": [channel]})
        post = "curl -s -H 'Content-Type: application/json' http://127.0.0.1:8080/api/v1/notify/test -d"
        told = run(f"{post} '{body}'", server=server, target="", folder=tmp_path)
        listener.shutdown()
        thread.join(10)
    assert json.loads(told)["results"][0]["ok"], told
    assert len(capsys.readouterr().out.splitlines()) >= 1


def test_the_documentation_has_stories_and_each_has_commands() -> None:
    assert {"curl", "chronosctl", "first-job", "told"} <= set(stories())
    assert all(any(step.command for step in steps) for steps in stories().values())
    assert set(BEFORE) | set(FLAGS) <= set(stories())
