from __future__ import annotations

import ast
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.architecture.source import modules

from chronos import failpoints
from chronos.failpoints import IN_CLUSTERS, IN_COMMANDS, NAMES, VARIABLE, reach, switch_on

REACH_FOUR_TIMES = """
import os
from chronos.failpoints import reach, switch_on
print(switch_on(os.environ), flush=True)
for number in range(4):
    print(number, flush=True)
    reach("entry.appended")
"""


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    yield
    switch_on({})


def died_at(folder: Path) -> tuple[int, list[str]]:
    """Run the program above and return its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", REACH_FOUR_TIMES],
        env={VARIABLE: str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def test_without_the_variable_nothing_dies(tmp_path: Path) -> None:
    assert switch_on({}) == ""
    (tmp_path / NAMES[0]).write_text("")
    reach(NAMES[0])


@pytest.mark.parametrize(("times", "printed"), [("", ["0"]), ("1", ["0"]), ("3\n", ["0", "1", "2"])])
def test_a_process_dies_the_time_that_it_was_asked_to(tmp_path: Path, times: str, printed: list[str]) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "entry.appended").write_text(times)
    code, [warning, *lines] = died_at(tmp_path)
    assert code == -signal.SIGKILL
    assert "dies on purpose" in warning
    assert lines == printed
    assert [path.name for path in tmp_path.iterdir()] == ["entry.appended.met"]
    assert died_at(tmp_path)[0] == 0, "the next one lives"


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "entry.appended").write_text("")
    code, [warning, *_] = died_at(tmp_path)
    assert code == 0
    assert "refused" in warning


def test_a_folder_that_is_not_there_or_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("nowhere", "link"):
        assert "refused" in switch_on({VARIABLE: str(tmp_path / name)})
    assert failpoints._folder is None


def test_every_place_that_has_a_name_is_in_the_code_and_the_other_way_round() -> None:
    reached = Counter(
        str(node.args[0].value)
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "reach"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    )
    assert reached == Counter([*NAMES, *IN_COMMANDS, *IN_CLUSTERS])
