"""Whether the engine takes part: it knows who leads, and agrees on a read with the others. Over the log's client."""

from __future__ import annotations

import asyncio

import structlog

from chronos.cluster.etcd import rpc_pb2 as pb
from chronos.cluster.etcd.client import RANGE, STATUS, Client, NoAnswer, Refused
from chronos.cluster.etcd.supervisor import EtcdSupervisor, Ready
from chronos.errors import Unavailable

log = structlog.get_logger("chronos.engine")

_KEY = b"/chronos/ready"
"""Nobody writes it: what is asked is whether there is an answer."""
VOTE_AGAIN_S = 0.25


def taking_part(client: Client, at: int = 0) -> Ready:
    """Return what asks the engine at place `at` of the client whether it is ready.

    One that is still learning may not be read for certain, and is ready when it hears a leader.
    """

    async def ready() -> bool:
        try:
            status = await client.once(STATUS, pb.StatusRequest(), at=at)
            if status.leader and not status.is_learner:
                await client.once(RANGE, pb.RangeRequest(key=_KEY, count_only=True), at=at)
        except (NoAnswer, Refused):
            return False
        return bool(status.leader)

    return ready


async def until_taking_part(client: Client, seconds: float) -> None:
    """Return when an engine that has a vote takes part.

    Raises:
        Unavailable: It does not within `seconds`.
    """
    await client.ask(RANGE, pb.RangeRequest(key=_KEY, count_only=True), answer_s=seconds)


async def wait_for_vote(client: Client, engine: EtcdSupervisor, seconds: float) -> None:
    """Return when this node's engine has a vote: before that it lets nobody follow the log.

    Raises:
        Unavailable: It got none in time.
        EngineFailed: It never will.
    """
    failure = asyncio.create_task(engine.failure(), name="engine failure")
    learning = asyncio.create_task(_until_voting(client), name="engine learning")
    try:
        await asyncio.wait({failure, learning}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if failure.done():
            failure.result()
        if not learning.done():
            raise Unavailable(
                f"This node's engine has had no vote for {seconds:g} s; it is still taking the log in, or nobody leads."
                " `chronosctl cluster members` says how the others see it."
            )
    finally:
        for task in (failure, learning):
            task.cancel()
        await asyncio.gather(failure, learning, return_exceptions=True)


async def _until_voting(client: Client) -> None:
    is_told = False
    while True:
        try:
            if not (await client.once(STATUS, pb.StatusRequest(), at=0)).is_learner:
                return
        except (NoAnswer, Refused):
            pass
        else:
            if not is_told:
                log.info("engine_learns")
            is_told = True
        await asyncio.sleep(VOTE_AGAIN_S)
