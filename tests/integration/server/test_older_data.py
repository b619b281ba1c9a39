"""Data of earlier releases: today's server opens it, says the same of it, and goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.store_data import HERE, TOKEN, ask, unpack
from tests.integration.server.living import SteppedClock, a_node

from chronos.dispatch.port import Answer, Delivered, Delivery
from chronos.model.formats import FOLDER, key_of, read_marker
from chronos.server.assemble import Outside
from chronos.store.survey import survey

HOUR_S = 3_600
STORED = sorted(path.stem for path in HERE.glob("*.json"))


class Recorder:
    """A target that keeps what it is sent, opened and ready to leave."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    async def deliver(self, delivery: Delivery) -> Delivered:
        self.deliveries.append(delivery)
        return Delivered(Answer(200))

    async def aclose(self) -> None:
        """There is nothing to close."""


def an_hour_later(stored_at: int, recorder: Recorder) -> Outside:
    """Return an outside in which the data was stored an hour ago."""
    clock = SteppedClock()
    clock.ahead_s = stored_at + HOUR_S - clock.time()
    return Outside(clock=clock, http=lambda *_: recorder)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", STORED)
async def test_data_of_an_earlier_release_is_opened_and_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    said = unpack(name, tmp_path / "data")
    stored_at: int = said.pop("stored_at")

    async with a_node(tmp_path / "data", an_hour_later(stored_at, Recorder())) as living:
        assert await ask(living.call) == said


@pytest.mark.asyncio
@pytest.mark.parametrize("name", STORED)
async def test_jobs_of_an_earlier_release_run_with_the_credentials_sealed_then(tmp_path: Path, name: str) -> None:
    said = unpack(name, tmp_path / "data")
    recorder = Recorder()
    before: set[str] = set(said["executions"])

    async with a_node(tmp_path / "data", an_hour_later(said["stored_at"], recorder)) as living:
        ran = await living.call("POST", "/api/v1/jobs/sealed/trigger?wait=10s")
        assert (ran.status_code, ran.json()["status"]) == (200, "success")
        after = await ask(living.call)

    [delivery] = recorder.deliveries
    target: Any = delivery.target
    assert target.auth.token == TOKEN
    assert set(after["executions"]) == {*before, ran.json()["id"]}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", STORED)
async def test_data_of_an_earlier_release_is_of_todays_format_once_it_was_opened(tmp_path: Path, name: str) -> None:
    said = unpack(name, tmp_path / "data")
    async with a_node(tmp_path / "data", an_hour_later(said["stored_at"], Recorder())):
        pass

    marker = read_marker(tmp_path / "data")
    assert marker is not None
    assert (marker.format, marker.upgrading_from) == (FOLDER.current, 0)
    assert [found.file for found in survey(tmp_path / "data") if found.refused] == []


@pytest.mark.parametrize("name", STORED)
def test_keys_of_an_earlier_release_are_read(tmp_path: Path, name: str) -> None:
    unpack(name, tmp_path)

    for path in (tmp_path / "keys").iterdir():
        assert len(key_of(path, path.read_text())) == 32


def test_there_is_data_of_todays_format() -> None:
    assert STORED, "python -m tests.fixtures.store_data NAME stores some"
