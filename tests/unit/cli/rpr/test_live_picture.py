"""The picture of `rpr --watch` in the documentation is what the screen looks like."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest
from tests.architecture.source import ROOT
from tests.unit.cli.rpr.test_live_screen import FakeSession

from chronos.cli.rpr.live.history import Past, Snapshot
from chronos.cli.rpr.live.screen import Live
from chronos.repeater.stops import Fate

PICTURE = ROOT / "docs" / "howto" / "watch-a-command.svg"
NOON = 1_800_014_400.0
OUTPUT = """\
NAME            READY   STATUS              RESTARTS   AGE
billing-6f9c    {0}/2     {1:<17}   {2}          {3}m
mailer-88d1     1/1     Running             0          3h
queue-0         1/1     Running             0          9d
"""


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def runs() -> tuple[Past, ...]:
    outputs = [OUTPUT.format(1, "CrashLoopBackOff", 3, 6), OUTPUT.format(2, "Running", 4, 7)]
    took_ms = [41, 38, 44, 40, 39, 120, 310, 95, 52, 43, 40, 42]
    made = []
    for number, ms in enumerate(took_ms, 1):
        output = outputs[number == len(took_ms)].encode()
        fate = Fate.FAILED if number == 7 else Fate.OK
        made.append(Past(number, NOON + 5 * number, ms / 1000, fate, int(number == 7), "", output, len(output)))
    return tuple(made)


@pytest.mark.asyncio
@pytest.mark.usefixtures("utc")
async def test_the_picture_in_the_documentation_is_the_screen() -> None:
    session = FakeSession(Snapshot(runs(), None, 12, 1, 1), every_s=5.0)
    app = Live(session, "interval, every 5s: kubectl get pods")
    async with app.run_test(size=(80, 14)):
        drawn = app.export_screenshot(title="rpr interval --every 5s --watch -- kubectl get pods")
    # A page of ours fetches nothing from elsewhere; a reader without the font sees another one of its kind.
    drawn = re.sub(r"@font-face \{.*?\}\n?", "", drawn, flags=re.DOTALL)
    drawn = "".join(f"{line.rstrip()}\n" for line in drawn.splitlines())
    if os.environ.get("CHRONOS_WRITE_REFERENCE"):
        PICTURE.write_text(drawn)
    assert PICTURE.is_file()
    assert PICTURE.read_text() == drawn, "the screen has changed: run `make reference`"
