from __future__ import annotations

import pytest
from tests.unit.features.fake_host import FakeHost, a_job
from tests.unit.features.notify.test_rules import an_execution

from chronos.features.dependencies import Settings, install
from chronos.model.events import EventType
from chronos.model.execution import Status


@pytest.mark.asyncio
async def test_a_job_that_came_to_depend_on_others_in_a_gap_is_not_overlooked() -> None:
    host = FakeHost()
    install(host, Settings())
    host.job_service.add(a_job("parent", job_id="J1"))
    host.job_service.add(a_job("other", job_id="J3"))

    async def parent_ends(number: int) -> None:
        ended = an_execution("J1", "parent", id=f"occ_{number}", status=Status.SUCCESS)
        await host.emit(EventType.EXECUTION_FINISHED, execution=ended, job_id="J1")

    await parent_ends(1)
    # Made while the queue was too full to hear of it.
    host.job_service.add(a_job("child", job_id="J2", dependencies={"depends_on": ["parent", "other"]}))
    await parent_ends(2)
    assert not host.collections["dependencies"].documents
    await host.emit(EventType.GAP)
    await parent_ends(3)
    assert host.collections["dependencies"].documents
