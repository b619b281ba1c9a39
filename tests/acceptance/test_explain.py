"""Asking why while the server runs, and from its data folder when it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.acceptance.node import Node
from tests.acceptance.recording_target import RecordingTarget

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]


def explain(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run `chronos explain --offline`; return its exit code and what it said on stdout and stderr."""
    command = [
        sys.executable,
        "-m",
        "chronos.cli.server",
        "explain",
        "--offline",
        "--data-dir",
        str(folder),
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


async def test_a_data_folder_answers_what_the_server_answered(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    node = Node(folder)
    await node.start()
    async with RecordingTarget() as target:
        body = {"name": "nightly", "schedule": "0 0 1 1 *", "webhook": {"url": target.url}}
        assert (await node.call("POST", "/api/v1/jobs", body)).status_code == 201
        ran = (await node.call("POST", "/api/v1/jobs/nightly/trigger?wait=10s", {})).json()
        at = ran["scheduled_time"]
        served = (await node.call("GET", f"/api/v1/jobs/nightly/explain?at={at}")).json()
        assert (served["reason"], served["record_id"]) == ("on_time", ran["id"])

        code, _, said = explain(folder, "nightly")
        assert code == 75
        assert "chronosctl explain" in said
        await node.kill()

    sent = len(target.arrivals)
    code, text, said = explain(folder, "nightly", "--at", at, "-o", "json")
    assert (code, said) == (0, "")
    assert json.loads(text) == served
    code, text, said = explain(folder, "nightly", "--at", at)
    assert (code, said) == (0, "")
    assert text.startswith("`nightly` ran on time")
    assert len(target.arrivals) == sent, "nothing is sent by asking"


async def test_what_cannot_be_asked_is_refused_with_words(tmp_path: Path) -> None:
    code, text, said = explain(tmp_path / "nowhere", "nightly")
    assert (code, text) == (2, "")
    assert "not a data folder" in said
    assert not (tmp_path / "nowhere").exists(), "asking makes nothing"
    node = Node(tmp_path / "data")
    await node.start()
    assert await node.stop() == 0
    code, _, said = explain(tmp_path / "data", "nightly")
    assert code == 2
    assert "nightly" in said
