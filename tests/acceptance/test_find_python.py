"""Which Python `make` takes, of those on the path: played ones, that answer what is asked of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASKED = {"old": "version_info", "incomplete": "ensurepip", "plain": "CONFIG_ARGS"}
"""What a Python of this kind says no to."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "id", "uname"):
        (tmp_path / "bin" / tool).symlink_to(f"/bin/{tool}" if tool != "id" else "/usr/bin/id")
    return tmp_path


def played(path: Path, folder: str, name: str, kind: str = "") -> Path:
    """Put a Python on the path; without a kind it is new, complete and optimized."""
    program = path / folder / name
    program.parent.mkdir(exist_ok=True)
    refuses = f'case "$2" in *{ASKED[kind]}*) exit 1 ;; esac\n' if kind else ""
    program.write_text(f"#!/bin/sh\n{refuses}exit 0\n")
    program.chmod(0o755)
    return program


def found(path: Path, *folders: str, python: str = "") -> subprocess.CompletedProcess[str]:
    named = {"PYTHON": python} if python else {}
    places = ":".join(str(path / folder) for folder in (*folders, "bin"))
    return subprocess.run(
        ["/bin/sh", ROOT / ".ci" / "find-python"],
        env={"PATH": places, **named},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_an_optimized_python_is_taken_before_a_newer_one_that_is_not(path: Path) -> None:
    played(path, "own", "python3.13", "plain")
    good = played(path, "system", "python3.11")
    assert found(path, "own", "system").stdout.split() == [str(good)]


def test_of_the_same_name_the_optimized_one_is_taken_wherever_it_stands(path: Path) -> None:
    played(path, "own", "python3.11", "plain")
    good = played(path, "a system", "python3.11")
    assert found(path, "own", "a system").stdout.splitlines() == [str(good)]


def test_without_an_optimized_one_the_first_complete_one_is_taken(path: Path) -> None:
    played(path, "own", "python3.13", "old")
    played(path, "own", "python3.12", "incomplete")
    plain = played(path, "own", "python3.11", "plain")
    played(path, "own", "python3", "plain")
    assert found(path, "own").stdout.split() == [str(plain)]


def test_a_python_named_by_hand_is_the_only_one_looked_at(path: Path) -> None:
    plain = played(path, "own", "python3.12", "plain")
    played(path, "own", "python3.13")
    assert found(path, "own", python="python3.12").stdout.split() == [str(plain)]
    none = found(path, "own", python=str(path / "own" / "python4"))
    assert none.returncode == 1
    assert "there is none at PYTHON=" in none.stderr


def test_one_that_lacks_a_part_is_said_to(path: Path) -> None:
    played(path, "own", "python3.12", "incomplete")
    none = found(path, "own")
    assert none.returncode == 1
    assert "its venv module is not" in none.stderr
