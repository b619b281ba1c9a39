"""The command line on a server in memory."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.fake_server import FakeServer

from chronos.cli.chronosctl import run
from chronos.cli.chronosctl.session import Session
from chronos.timing.clock import SeededChance


class FixedClock:
    """2027-01-01T12:00:00Z, and a second later each time the wait is asked for."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def time(self) -> float:
        return 1_798_804_800.0 + self.seconds

    def boottime(self) -> float:
        self.seconds += 1.0
        return self.seconds


@dataclass
class Result:
    """What one command line came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Ctl:
    """Runs command lines."""

    capsys: pytest.CaptureFixture[str]
    home: Path
    server: FakeServer = field(default_factory=FakeServer)
    environ: dict[str, str] = field(default_factory=dict)

    def __call__(self, *args: str) -> Result:
        session = Session(
            environ={"HOME": str(self.home), **self.environ},
            transport=self.server.transport,
            given_clock=FixedClock(),
            given_chance=SeededChance(random.Random(7)),
        )
        code = run(args, session)
        captured = self.capsys.readouterr()
        return Result(code, captured.out, captured.err)


@pytest.fixture
def ctl(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Ctl:
    return Ctl(capsys, tmp_path)
