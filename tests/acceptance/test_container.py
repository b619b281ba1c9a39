"""The image: what its Dockerfile says, and the same done by hand: another user, a root nobody can write to."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import click
import pytest
import requests
from tests.acceptance.image import Stage, stages
from tests.acceptance.served import answering
from tests.architecture.source import ROOT

from chronos.cli.server import main
from chronos.server import manifest
from chronos.server.config import load

DOCKERFILE = ROOT / "deploy" / "container" / "Dockerfile"
SCRIPT = Path(__file__).with_name("in_image.sh")
PATIENCE_S = 60.0
UID = "10001"


@pytest.fixture(scope="module")
def image() -> Stage:
    return stages(DOCKERFILE)[-1]


def environment(image: Stage) -> dict[str, str]:
    """Return what the image sets for Chronos."""
    return {name: value for name, value in image.environment().items() if name.startswith("CHRONOS_")}


def test_it_runs_as_a_numbered_user_who_is_not_root(image: Stage) -> None:
    assert image.last("USER").rest == f"{UID}:{UID}"
    after = image.instructions[image.instructions.index(image.last("USER")) :]
    assert [one for one in after if one.word == "RUN"] == []


def test_it_needs_no_shell(image: Stage) -> None:
    assert image.all("RUN") == [], "what is built is built in the stage before"
    assert image.last("ENTRYPOINT").argv == ["/opt/chronos/bin/chronos"]
    assert json.loads(image.last("HEALTHCHECK").rest.partition("CMD ")[2])[0].startswith("/")


def test_what_it_starts_and_what_it_asks_are_commands_there_are(image: Stage) -> None:
    asked = json.loads(image.last("HEALTHCHECK").rest.partition("CMD ")[2])
    for words in (image.last("CMD").argv, asked[1:]):
        assert isinstance(main.commands[words[0]], click.Command)
        main.commands[words[0]].make_context(words[0], list(words[1:]))


def test_what_it_sets_is_a_configuration_and_everything_is_kept_in_the_volume(image: Stage) -> None:
    config = load(None, environ=environment(image), flags={}, feature_types=manifest.sections())

    assert config.notes == []
    assert str(config.settings.cluster.data_dir) == image.last("VOLUME").rest == "/data"
    assert config.settings.server.http.address.rpartition(":")[2] == image.last("EXPOSE").rest


def test_it_is_stopped_with_the_signal_that_lets_what_runs_end(image: Stage) -> None:
    assert signal.Signals[image.last("STOPSIGNAL").rest] is signal.SIGTERM


def test_every_dependency_is_installed_by_its_hash() -> None:
    build = stages(DOCKERFILE)[0]
    installs = [one.rest for one in build.all("RUN") if "pip install" in one.rest]

    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)


def test_both_stages_have_the_same_python() -> None:
    assert {stage.base for stage in stages(DOCKERFILE) if stage.name != "engine"} == {"${PYTHON}"}


def test_the_engine_is_built_as_for_the_tests_from_modules_pinned_by_hash_and_found(image: Stage) -> None:
    [engine] = [stage for stage in stages(DOCKERFILE) if stage.name == "engine"]
    [copied] = engine.all("COPY")
    modules = ROOT / copied.rest.split()[0]
    [wanted] = re.findall(r"^go (\d+\.\d+)", (modules / "go.mod").read_text(), re.MULTILINE)
    assert f"ARG GO=golang:{wanted}\n" in DOCKERFILE.read_text()
    assert engine.base == "${GO}"
    assert (modules / "go.sum").is_file()
    build = engine.all("RUN")[0].rest
    assert "GOFLAGS=-mod=readonly" in build
    assert (
        build.rpartition("go build ")[2].replace("go.etcd.io/etcd/server/v3", '"$module"')
        in (ROOT / ".ci/engine").read_text()
    )
    [laid] = [one.rest for one in image.all("COPY") if "--from=engine" in one.rest]
    place = PurePosixPath(laid.split()[-1])
    assert place.name == "etcd"
    assert str(place.parent) in image.environment()["PATH"].split(":")


def test_what_is_copied_is_there_and_sent_to_the_builder_and_nothing_else_is() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and line[0] != "#"]
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for one in stages(DOCKERFILE)[0].all("COPY")
        for source in one.rest.split()[:-1]
        if not source.startswith("--")
    }
    assert lines[0] == "*"
    assert copied == sent
    assert [name for name in sorted(copied) if not (ROOT / name).exists()] == []
    assert any(fnmatch("src/chronos/__pycache__", line) for line in lines)


def need_namespaces() -> None:
    """Skip where no mount namespace can be made; fail where it has to be."""
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if os.geteuid() == 0 and tried.returncode == 0 and shutil.which("setpriv"):
        return
    if os.environ.get("CHRONOS_REQUIRE_SERVICES"):
        pytest.fail("no mount namespace can be made here")
    pytest.skip("it takes root and a mount namespace")


def build(folder: Path) -> Path:
    """Do what the first stage does, with the dependencies that are here; return what it would copy."""
    wheels, opt = folder / "wheels", folder / "opt"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    run = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run(run, check=True, timeout=PATIENCE_S)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(opt)], check=True, timeout=PATIENCE_S)
    site = next(opt.glob("lib/python*/site-packages"))
    [wheel] = wheels.iterdir()
    # Where it will lie is what the scripts of an installation begin with.
    run = [*pip, "--python", str(opt / "bin/python"), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(run, check=True, timeout=PATIENCE_S)
    for script in (opt / "bin").glob("chronos*"):
        script.write_text(script.read_text().replace(str(opt), "/opt/chronos"))
    # Dependencies only: what is installed for editing is found by a file that is not read from here.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return opt


class Container:
    """What `docker run --read-only` would start."""

    def __init__(self, image: Stage, opt: Path, folder: Path) -> None:
        self._image = image
        self._opt = opt
        self._folder = folder
        self.data = folder / "data"
        self.data.mkdir(mode=0o700)
        os.chown(self.data, int(UID), int(UID))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self, words: list[str], root: str) -> subprocess.Popen[str]:
        """Start a command in it."""
        (self._folder / root).mkdir()
        variables = {
            **self._image.environment(),
            "PATH": "/opt/chronos/bin:/usr/bin:/bin",
            "CHRONOS_HTTP_ADDRESS": f"0.0.0.0:{self._port}",
            "CHRONOS_DISPATCHER__EGRESS__ALLOW": "127.0.0.1/32",
        }
        seen = ["/usr", "/etc", sys.base_prefix, sysconfig.get_path("purelib")]
        paths = [str(self._folder / root), str(self.data), str(self._opt), UID, " ".join(seen)]
        return subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", str(SCRIPT), *paths]
            + [f"{name}={value}" for name, value in variables.items()]
            + words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, words: list[str], root: str) -> tuple[int, str]:
        """Run a command in it to its end; return its exit code and what it said."""
        process = self.start(words, root)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out + err


@contextmanager
def serving(container: Container, words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run the server for as long as the block lasts."""
    server = container.start(words, "server")
    assert server.stdout is not None
    assert server.stderr is not None
    line = server.stdout.readline()
    try:
        assert line.startswith("ready "), server.stderr.read()
        yield server
    finally:
        server.kill()
        server.communicate()


def test_a_job_runs_below_a_root_that_cannot_be_written_to_and_sigterm_ends_it_well(
    image: Stage, tmp_path: Path
) -> None:
    need_namespaces()
    container = Container(image, build(tmp_path), tmp_path)
    entry = image.last("ENTRYPOINT").argv
    asked: list[str] = json.loads(image.last("HEALTHCHECK").rest.partition("CMD ")[2])
    assert container.run(asked, "asked-before")[0] == 1

    with answering() as target, serving(container, [*entry, *image.last("CMD").argv]) as server:
        code, said = container.run(asked, "asked")
        assert (code, json.loads(said)["status"]) == (0, "healthy")
        key = {"X-API-Key": (container.data / "admin.key").read_text().strip()}
        job: dict[str, Any] = {"name": "nightly", "schedule": "@yearly", "webhook": {"url": f"{target}/yes"}}
        assert requests.get(f"{container.url}/api/v1/jobs", timeout=10).status_code == 401
        assert requests.post(f"{container.url}/api/v1/jobs", json=job, headers=key, timeout=10).status_code == 201
        url = f"{container.url}/api/v1/jobs/nightly/trigger?wait=20s"
        assert requests.post(url, json={}, headers=key, timeout=30).json()["status"] == "success"
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 0
    assert {path.stat().st_uid for path in container.data.rglob("*")} == {int(UID)}


def test_the_root_that_the_server_is_tried_below_cannot_be_written_to(image: Stage, tmp_path: Path) -> None:
    need_namespaces()
    opt = tmp_path / "opt"
    opt.mkdir()
    container = Container(image, opt, tmp_path)
    for number, place in enumerate(["/x", "/tmp/x", "/opt/chronos/x", "/usr/x", "/etc/x"]):
        code, said = container.run(["touch", place], f"root{number}")
        assert code != 0, place
        assert "Read-only file system" in said or "Permission denied" in said
    assert container.run(["touch", "/data/x"], "data-root") == (0, "")
    assert container.run(["id", "-u"], "id-root") == (0, f"{UID}\n")
