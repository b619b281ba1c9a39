"""`chronosctl top --once` against a real server, whoever answers there."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.acceptance.served import answering, served
from tests.acceptance.shell import Shell

TRIES = 30
FIGURES = {"success", "failed", "skipped", "cancelled"}


@pytest.mark.parametrize("processes", ["0", "1"])
def test_what_happened_a_moment_ago_is_in_one_document(tmp_path: Path, processes: str) -> None:
    data = tmp_path / "data"
    environment = {"CHRONOS_SERVER__PROCESSES": processes}
    with answering() as target, served(data, env=environment) as server:
        ctl = Shell(server.url, tmp_path, data)
        for name, path in (("good", ""), ("bad", "/no")):
            made = ctl("job", "create", name, "--schedule", "@every 1h", "--url", target.rstrip("/") + path)
            assert made.code == 0, made.err
            ctl("job", "trigger", name, "--wait")
        ctl("job", "create", "soon", "--schedule", "@every 50s", "--url", target)
        for _ in range(TRIES):  # the second that is not over yet is in no figure
            told = ctl("top", "--once", "-o", "json").json
            if sum(told["ended_by_second"]) >= 2:
                break
        text = ctl("top", "--once").out

    assert told["node"]["ready"]
    assert told["node"]["api_processes"] == int(processes)
    assert (told["node"]["jobs"], told["node"]["clock"], told["node"]["storage"]) == (3, "ok", "ok")
    assert [(job["job_name"], job["failures"]) for job in told["failing"]] == [("bad", 1)]
    assert "400" in told["failing"][0]["reason"]
    assert set(told["rates"]) == FIGURES
    assert sum(told["ended_by_second"]) in (2, 3)
    assert told["start_lateness_ms"]["count"] in (2, 3)
    assert told["start_lateness_ms"]["p99"] <= told["start_lateness_ms"]["max"]
    assert len(told["next_minute"]["by_second"]) == 60
    assert told["next_minute"]["total"] in (1, 2)
    assert "bad" in text
    assert "runs in the next minute" in text
