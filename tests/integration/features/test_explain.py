"""Asking a whole node why: over the API and by `chronosctl`, of a running job, a skipped one and a deleted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.integration.server.living import Living, a_node, until

JOB = {"schedule": "* * * * * *", "timezone": "Europe/Paris", "retry_policy": {"max_attempts": 1}}


async def explained(living: Living, job: str, at: str = "") -> Any:
    answer = await living.call("GET", f"/api/v1/jobs/{job}/explain" + (f"?at={at.replace('+', '%2B')}" if at else ""))
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.asyncio
async def test_the_server_says_why_and_the_command_line_says_it_to_people(tmp_path: Path) -> None:
    async with a_node(tmp_path / "data") as living:
        body = {**JOB, "name": "nightly", "webhook": {"url": "http://127.0.0.1:9/"}}
        assert (await living.call("POST", "/api/v1/jobs", body)).status_code == 201

        async def has_failed() -> bool:
            page = (await living.call("GET", "/api/v1/jobs/nightly/executions?status=failed")).json()
            return bool(page["executions"])

        await until(has_failed)
        [*_, first] = (await living.call("GET", "/api/v1/jobs/nightly/executions?status=failed")).json()["executions"]
        answer = await explained(living, "nightly", first["scheduled_time"])
        assert (answer["reason"], answer["record_id"], answer["version"]) == ("failed", first["id"], 1)
        assert any(fact["kind"] == "attempt" and first["id"] == fact["record_id"] for fact in answer["facts"])

        code, said = await living.ctl("explain", "nightly", "--at", first["scheduled_time"])
        assert code == 0, said
        lines = said.splitlines()
        assert lines[0].startswith("`nightly` ran and failed for good after 1 attempt")
        assert f"reason failed, version 1, record {first['id']}" in lines[2]
        assert "Europe/Paris" in said

        assert (await living.call("DELETE", "/api/v1/jobs/nightly", {})).status_code < 300
        gone = await explained(living, "nightly", "2099-01-01T00:00:00Z")
        assert gone["reason"] == "deleted"
        assert (await explained(living, "nightly", first["scheduled_time"]))["reason"] == "failed"

        refused = await living.call("GET", "/api/v1/jobs/nightly/explain?at=tomorrow")
        assert refused.status_code == 422
        assert (await living.call("GET", "/api/v1/jobs/unknown/explain")).status_code == 404
        code, said = await living.ctl("explain", "nightly", "--at", "whenever")
        assert code == 2
        assert "--at" in said


@pytest.mark.asyncio
async def test_a_calendar_answers_as_it_was_at_the_instant(tmp_path: Path) -> None:
    async with a_node(tmp_path / "data") as living:
        feast = {"exclude": ["2099-01-01"]}
        assert (await living.call("PUT", "/api/v1/calendars/feast", feast)).status_code < 300
        body = {**JOB, "name": "yearly", "schedule": "0 9 1 1 *", "calendar": "feast"}
        body["webhook"] = {"url": "http://127.0.0.1:9/"}
        created = await living.call("POST", "/api/v1/jobs", body)
        assert created.status_code == 201, created.text
        answer = await explained(living, "yearly", "2099-01-01T09:00:00")
        assert (answer["reason"], answer["record_id"], answer["local"]) == ("blackout", "", "2099-01-01 09:00:00+01:00")
        assert "feast" in next(fact["text"] for fact in answer["facts"] if fact["kind"] == "calendar")
        assert (await explained(living, "yearly", "2098-01-01T09:00:00"))["reason"] == "will_run"
