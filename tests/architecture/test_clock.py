"""There is one clock and one source of chance, so that a simulation can own both."""

from __future__ import annotations

import ast
import re

import pytest
from tests.architecture.source import Module, modules

HOME = "timing/clock.py"

FORBIDDEN = re.compile(
    r"time\.(time|monotonic|perf_counter|process_time|thread_time|clock_gettime|sleep|localtime|ctime)(_ns)?"
    r"|datetime\.datetime\.(now|utcnow|today)"
    r"|datetime\.date\.today"
    r"|(random|secrets|uuid)\..+"
    r"|os\.(urandom|getrandom)"
)

# The blocking client waits between two tries; it has no loop to wait on.
WAITS = {("client/blocking.py", "time.sleep")}


def other_clocks(module: Module) -> list[str]:
    """Return where a module reads the time or draws a number by itself."""
    found = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Attribute | ast.Name):
            continue
        name = module.dotted(node)
        if FORBIDDEN.fullmatch(name) and not is_seeded(module, name) and (module.path, name) not in WAITS:
            found.append(f"{module.path}:{node.lineno} {name}")
    return found


def is_seeded(module: Module, name: str) -> bool:
    """Whether this is a generator that the shipped fakes seed; calls without a seed are looked for apart."""
    return name == "random.Random" and module.path.startswith("testing/") and not unseeded(module)


def unseeded(module: Module) -> bool:
    return any(
        isinstance(node, ast.Call) and module.dotted(node.func) == "random.Random" and not node.args
        for node in ast.walk(module.tree)
    )


def test_only_the_clock_reads_the_time_or_draws_a_number() -> None:
    assert [use for module in modules() if module.path != HOME for use in other_clocks(module)] == []


@pytest.mark.parametrize(
    "line",
    [
        "import time as t; t.monotonic()",
        "from time import time_ns as now; now()",
        "import datetime; datetime.datetime.now(datetime.UTC)",
        "from datetime import datetime; datetime.utcnow()",
        "from datetime import date; date.today()",
        "import random; random.Random(1)",
        "import uuid; uuid.uuid4()",
        "from secrets import token_hex; token_hex()",
        "import os; os.urandom(4)",
        "import time; clock = time.time",
    ],
)
def test_a_second_clock_is_seen(line: str) -> None:
    assert other_clocks(Module("scheduler/sample.py", line))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("scheduler/sample.py", "import asyncio; asyncio.get_running_loop().time()"),
        ("scheduler/sample.py", "from datetime import datetime; datetime.fromtimestamp(0)"),
        ("scheduler/sample.py", "def f(clock): return clock.time()"),
        ("testing/sample.py", "import random; random.Random(7).random()"),
    ],
)
def test_what_is_no_clock_is_left_alone(path: str, line: str) -> None:
    assert other_clocks(Module(path, line)) == []


def test_a_fake_without_a_seed_is_seen() -> None:
    assert other_clocks(Module("testing/sample.py", "import random; random.Random()"))
