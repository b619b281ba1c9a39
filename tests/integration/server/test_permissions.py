"""Which permissions a key may be given: those that routes ask for, and nothing that only looks like one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.server.living import a_node


@pytest.mark.asyncio
async def test_a_key_gets_what_routes_ask_for_and_a_mistyped_permission_is_refused(tmp_path: Path) -> None:
    async with a_node(tmp_path / "data") as living:
        declared = sorted(living.node.host.permissions())
        assert {"job:read", "job:force", "job:process", "key:create", "cluster:backup", "history:export"} <= {*declared}
        body = {"name": "all", "permissions": [*declared, "job:*", "*"]}
        assert (await living.call("POST", "/api/v1/api-keys", body)).status_code == 201
        answer = await living.call("POST", "/api/v1/api-keys", {"name": "x", "permissions": ["nope:nope"]})
        assert (answer.status_code, answer.json()["field"]) == (422, "permissions")
        code, said = await living.ctl("key", "create", "x", "--permission", "job:reed")
    assert code == 2
    assert "Did you mean `job:read`?" in said
