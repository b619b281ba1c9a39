from __future__ import annotations

import pytest
from tests.unit.server.asgi import application, ask

from chronos.errors import ChronosError, JobNotFound, Unavailable, VersionConflict
from chronos.plugin import PUBLIC, Call, Endpoint, Reply
from chronos.server.uptodate import up_to_date

pytestmark = pytest.mark.asyncio


class Behind:
    """A node that has not heard of something until it has asked the others."""

    def __init__(self, refusal: ChronosError | None = None, *, for_ever: bool = False) -> None:
        self.steps: list[str] = []
        self._refusal = refusal
        self._for_ever = for_ever

    async def barrier(self) -> None:
        self.steps.append("barrier")

    async def ask(self) -> str:
        self.steps.append("ask")
        if self._refusal is not None and (self._for_ever or "barrier" not in self.steps):
            raise self._refusal
        return "answer"


async def no_quorum() -> None:
    raise Unavailable


async def test_a_read_is_asked_when_the_node_has_what_was_acknowledged() -> None:
    node = Behind(JobNotFound())
    assert await up_to_date(node.ask, node.barrier, reads=True) == "answer"
    assert node.steps == ["barrier", "ask"]


async def test_a_write_that_is_accepted_waits_for_nobody() -> None:
    node = Behind()
    assert await up_to_date(node.ask, node.barrier, reads=False) == "answer"
    assert node.steps == ["ask"]


@pytest.mark.parametrize("refusal", [JobNotFound(), VersionConflict()])
async def test_a_write_is_not_refused_because_its_node_is_behind(refusal: ChronosError) -> None:
    node = Behind(refusal)
    assert await up_to_date(node.ask, node.barrier, reads=False) == "answer"
    assert node.steps == ["ask", "barrier", "ask"]


async def test_what_is_still_not_there_is_refused_once_and_for_all() -> None:
    node = Behind(JobNotFound(), for_ever=True)
    with pytest.raises(JobNotFound):
        await up_to_date(node.ask, node.barrier, reads=False)
    assert node.steps == ["ask", "barrier", "ask"]


async def test_without_a_quorum_nobody_says_that_something_is_not_there() -> None:
    with pytest.raises(Unavailable, match="Send the request again"):
        await up_to_date(Behind(JobNotFound(), for_ever=True).ask, no_quorum, reads=False)


async def test_where_nobody_can_be_ahead_a_refusal_is_given_at_once() -> None:
    node = Behind(JobNotFound(), for_ever=True)
    with pytest.raises(JobNotFound):
        await up_to_date(node.ask, None, reads=False)
    assert node.steps == ["ask"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/jobs", 503),
        ("GET", "/jobs", 503),
        ("GET", "/jobs?consistency=local", 404),
        ("GET", "/page", 404),
        ("POST", "/own", 404),
    ],
)
async def test_without_a_quorum_a_route_says_what_it_can_know(method: str, path: str, status: int) -> None:
    async def missing(_: Call) -> Reply:
        raise JobNotFound

    app = application(
        [
            Endpoint("POST", "/jobs", missing, "job:create"),
            Endpoint("GET", "/jobs", missing, "job:read"),
            Endpoint("GET", "/page", missing, PUBLIC),
            Endpoint("POST", "/own", missing, "job:create", of_node=True),
        ],
        barrier=no_quorum,
    )
    assert (await ask(app, method, path)).status == status
