"""Several real `rpr` share a resource of a real server: they take turns, whoever dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.acceptance.rpr.typed import COMMAND_S, a_line, rpr, running
from tests.acceptance.served import Served

NAMES = ("one", "two", "three")
WORK = """
[ -e hold.$1 ] && held=held || held=
echo "begin $1 $RPR_FENCING_TOKEN" >>log
[ -z "$held" ] || { echo held; read _ <gate; }
sleep 0.05
echo "end $1" >>log
echo "$RPR_FENCING_TOKEN"
"""
"""Every run writes with O_APPEND when it begins and when it ends."""


def a_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class House:
    """A server that asks who is there, at an address that stays the same across its starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = a_port()
        self.server = self.start()
        self.key = (folder / "data" / "admin.key").read_text().strip()
        self.coordinate = ["--coordinate", f"chronos://127.0.0.1:{self.port}/database"]

    def start(self) -> Served:
        self.server = Served(
            self.folder / "data", "--http-address", f"127.0.0.1:{self.port}", env={"CHRONOS_AUTH__TYPE": "api_key"}
        )
        return self.server

    def kill(self) -> None:
        """End the server as a power cut would."""
        self.server.process.kill()
        self.server.stop()

    @property
    def env(self) -> dict[str, str]:
        return {"CHRONOS_API_KEY": self.key}


@contextmanager
def a_house(folder: Path) -> Iterator[House]:
    house = House(folder)
    try:
        yield house
    finally:
        house.server.stop()


def begins(log: Path) -> list[tuple[str, int]]:
    """Return who began under which token, in order; every run has to end before the next one begins."""
    lines = [line.split() for line in log.read_text().splitlines()]
    if lines[-1][0] == "begin":
        lines.pop()  # it is on
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    assert [(first[0], second) for first, second in pairs] == [("begin", ["end", first[1]]) for first, _ in pairs]
    return [(first[1], int(first[2])) for first, _ in pairs]


def highest(log: Path) -> int:
    """Return the highest token that anybody has begun under."""
    return max(int(line.split()[2]) for line in log.read_text().splitlines() if line.startswith("begin"))


def newer(processes: list[subprocess.Popen[bytes]], token: int) -> None:
    """Wait until each has had a turn under a higher token."""
    for process in processes:
        while (line := a_line(process)) == b"held\n" or int(line) <= token:
            pass  # what it has printed before


@pytest.mark.timeout(120)
def test_never_two_at_once_though_the_server_and_the_holder_are_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    os.mkfifo(tmp_path / "gate")
    with a_house(tmp_path) as house, ExitStack() as stack:
        flags = ["i", "-e", "20ms", "--grace", "500ms", *house.coordinate, "--", "sh", "-c", WORK, "sh"]
        one, two, three = (stack.enter_context(running(*flags, name, cwd=tmp_path, env=house.env)) for name in NAMES)
        newer([one, two, three], 0)

        house.kill()
        before = highest(log)
        house.start()
        newer([one, two, three], before)

        (tmp_path / "hold.one").touch()
        while a_line(one) != b"held\n":
            pass  # the runs before
        one.kill()
        of_one = highest(log)
        (tmp_path / "gate").write_text("\n")  # what it has begun ends in time, though nobody looks after it
        newer([two, three], of_one)

        found = begins(log)
        for process in (two, three):
            process.send_signal(signal.SIGTERM)
            assert process.wait(COMMAND_S) == 130
    tokens = [token for _, token in found]
    assert tokens == sorted(set(tokens)), "each higher than the one before"
    last_of_one = max(n for n, (name, _) in enumerate(found) if name == "one")
    assert {name for name, _ in found[last_of_one + 1 :]} == {"two", "three"}


@pytest.mark.timeout(120)
def test_a_run_whose_lease_cannot_be_renewed_is_ended_before_the_lease_is(tmp_path: Path) -> None:
    with a_house(tmp_path) as house:
        flags = ["c", "-t", "1", "--grace", "500ms", *house.coordinate]
        with running(*flags, "--", "sh", "-c", "echo on; exec sleep 600", env=house.env) as process:
            assert a_line(process) == b"on\n"
            house.kill()
            _, err = process.communicate(timeout=COMMAND_S)
    assert process.returncode == 1
    assert b"run 1: its turn was over" in err


def test_without_a_server_one_goes_on_alone_and_another_stops(tmp_path: Path) -> None:
    flags = ["c", "-t", "1", "--grace", "0s", "--coordinate", f"chronos://127.0.0.1:{a_port()}/x"]
    with running(*flags, "--on-coordinator-loss", "stop", "--", "echo", "never") as stopping:
        alone = rpr(*flags, "--on-coordinator-loss", "alone", "--", "sh", "-c", 'echo "token: $RPR_FENCING_TOKEN."')
        out, err = stopping.communicate(timeout=COMMAND_S)
    assert (alone.code, alone.out) == (0, "token: .\n")
    assert "going on alone" in alone.err
    assert (stopping.returncode, out) == (1, b"")
    assert b"Error: the coordinator does not answer" in err


def test_who_is_nobody_is_told_so_at_once_and_does_not_run(tmp_path: Path) -> None:
    with a_house(tmp_path) as house:
        done = rpr("c", "-t", "1", *house.coordinate, "--", "echo", "never")
    assert (done.code, done.out) == (1, "")
    assert "API key" in done.err or "X-API-Key" in done.err


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("--coordinate http://127.0.0.1:8080/x", "write chronos://"),
        ("--coordinate chronos://127.0.0.1:8080/", "write chronos://"),
        ("--coordinate chronos://127.0.0.1:8080/a/b", "write chronos://"),
        ("--coordinate chronos://127.0.0.1:99999/a", "write chronos://"),
        ("--coordinate chronos://user:word@127.0.0.1/a", "write chronos://"),
        ("--coordinate chronos://127.0.0.1/a --grace 1h", "--grace must be less"),
        ("--coordinate chronos://127.0.0.1/a --concurrency 2", "leave --concurrency out"),
        ("--on-coordinator-loss alone", "needs --coordinate"),
        ("--coordinate chronos://127.0.0.1/a --on-coordinator-loss pray", "--on-coordinator-loss"),
    ],
)
def test_what_cannot_be_coordinated_is_refused_before_anything_runs(line: str, why: str) -> None:
    done = rpr("i", "-e", "1s", *line.split(), "--", "echo", "never")
    assert (done.code, done.out) == (2, "")
    assert why in done.err
