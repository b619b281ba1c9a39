"""What `make cluster` shows: three real nodes, a leader that is killed, and a target that misses nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import psutil
import pytest
from bench.picture import Picture, Screen, in_words
from rich.console import Console
from tests.etcds import binary

ROOT = Path(__file__).resolve().parents[2]
NOW = Picture(6.2, "", 1, 310, 43, 1.2, 12.4, {"n1": "dead", "n2": "follower", "n3": "follower"}, None, "kill -9 of n1")


def recipe() -> list[str]:
    """Return what `make cluster` runs, without the interpreter."""
    lines = (ROOT / "Makefile").read_text().partition("\ncluster:")[2].splitlines()
    words = lines[1].split()
    assert words[:2] == ["@exec", "$(PY)"]
    return [word for word in words[2:] if word != "$(ARGS)"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cluster_goes_on_when_its_leader_is_killed_and_leaves_nothing_behind(tmp_path: Path) -> None:
    env = {**os.environ, "CHRONOS_ETCD": binary(), "TMPDIR": str(tmp_path)}
    command = [sys.executable, *recipe(), "--seconds", "24", "--rate", "20"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^kill -9 of n\d, which led: server \d+, .*engine \d+", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"lost +0\n +not recorded +0\n +recorded twice +0\n", done.stdout), done.stdout
    assert re.search(r"n\d leads, term [2-9].*\| gap \d+\.\d\d s", done.stdout), done.stdout
    assert done.stdout.endswith("Nothing was lost.\n")
    assert list(tmp_path.iterdir()) == []
    left = [one.info["cmdline"] for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in _words(one)]
    assert left == []


def _words(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or ())


def test_without_an_engine_it_says_how_to_get_one(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path), "CHRONOS_ETCD": str(tmp_path / "none")}
    none = str(tmp_path / "none")
    program = f"import bench.trio as trio, bench.showcase as it, pathlib; trio.ENGINE = pathlib.Path({none!r}); "
    command = [sys.executable, "-c", program + "raise SystemExit(it.main([]))"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "`make engine` makes it" in done.stderr


@pytest.mark.parametrize("wrong", [["--rate", "0"], ["--seconds", "5"], ["--seconds", "9999"]])
def test_what_cannot_be_shown_is_refused(wrong: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *recipe(), *wrong], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "--rate is 1 to 2000" in done.stderr


def test_a_picture_is_one_line_that_says_who_leads_and_what_arrives() -> None:
    assert in_words(NOW) == (
        "  6.2 s | nobody leads, term 1 | 43/s | late 1 ms, at most 12 ms | n1 dead n2 follower n3 follower"
    )
    later = NOW._replace(leader="n2", term=2, gap_s=1.691)
    assert in_words(later).startswith("  6.2 s | n2 leads, term 2 |")
    assert in_words(later).endswith("| gap 1.69 s")


def test_where_nothing_can_be_overwritten_a_second_is_one_line_and_what_happens_is_said_once() -> None:
    console = Console(width=200, record=True, file=StringIO())
    with Screen(live=False, console=console) as screen:
        for tenth in range(5):
            screen.show(NOW._replace(seconds=6 + tenth / 10))
        screen.show(NOW._replace(seconds=7.0))
    assert [line[:13] for line in console.export_text().splitlines()] == [
        "kill -9 of n1",
        "  6.0 s | nob",
        "  7.0 s | nob",
    ]


def test_on_a_terminal_the_picture_is_a_table_that_is_overwritten() -> None:
    console = Console(width=120, record=True, force_terminal=True, file=StringIO())
    with Screen(live=True, console=console) as screen:
        screen.show(NOW)
    shown = console.export_text()
    assert "kill -9 of n1" in shown
    assert "nobody" in shown
    assert "43 a second, 310 in all" in shown
