"""How changes of jobs are proposed: again while planning moves on meanwhile, and many of them in one entry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from chronos.errors import CatchingUp, ChronosError, PlanMoved
from chronos.scheduler.loop import Scheduler
from chronos.scheduler.ports import Commands
from chronos.store.commands import Command
from chronos.store.port import Result
from chronos.store.verdict import error_of

STALE_TRIES = 50
STALE_WAIT_S = 0.05
PART_WAIT_S = 0.005
"""The first wait for what a job still has to be decided of: usually it is the next part of a crowd."""
GIVE_WAY_S = 0.25
"""So long at most many changes wait each time for what is due."""
GLANCE_S = 0.005

Make = Callable[[], Command]
"""Makes a command from the state and the plan as they are now: when it is refused as stale, it is made anew."""

Answer = Result | ChronosError


class Proposals:
    """Proposes changes of jobs. What is answered as stale is made anew and proposed again, so often at most."""

    def __init__(self, commands: Commands, scheduler: Scheduler) -> None:
        self._commands = commands
        self._scheduler = scheduler

    async def one(self, make: Make) -> Result:
        """Return what came of one change; raises the error that a refusal names."""
        for attempt in range(STALE_TRIES):
            await self._scheduler.turnstile.passed()
            try:
                return await self._commands.propose(make())
            except (PlanMoved, CatchingUp) as stale:
                await _wait(stale, attempt)
        raise CatchingUp

    async def many(self, makes: Sequence[Make]) -> list[Answer]:
        """Return what came of each change, in order; those not stale are in one entry, in this order.

        They give way to executions that are due, for a quarter of a second at most.
        """
        answers: list[Answer] = [CatchingUp() for _ in makes]
        left = list(range(len(makes)))
        for attempt in range(STALE_TRIES):
            await self._scheduler.turnstile.passed()
            await self._give_way()
            for place, answer in zip(left, await self._answers([makes[place] for place in left]), strict=True):
                answers[place] = answer
            left = [place for place in left if isinstance(answers[place], PlanMoved | CatchingUp)]
            if not left:
                break
            stale = answers[left[0]]
            assert isinstance(stale, ChronosError)
            await _wait(stale, attempt)
        return answers

    async def _answers(self, makes: Sequence[Make]) -> list[Answer]:
        made = [_made(make) for make in makes]
        commands = [each for each in made if not isinstance(each, ChronosError)]
        try:
            results = iter(await self._commands.submit(commands) if commands else [])
        except ChronosError as error:  # of all of them
            return [each if isinstance(each, ChronosError) else error for each in made]
        return [each if isinstance(each, ChronosError) else _told(next(results)) for each in made]

    async def _give_way(self) -> None:
        """Return when nothing that is due waits, or after `GIVE_WAY_S`: what is due does not wait for changes."""
        for _ in range(round(GIVE_WAY_S / GLANCE_S)):
            if not self._scheduler.is_behind:
                return
            await asyncio.sleep(GLANCE_S)


async def _wait(stale: ChronosError, attempt: int) -> None:
    # Usually the mark has moved and the next try fits. If not, planning has to catch up first; waits of different
    # length keep the tries from falling into step with it.
    if isinstance(stale, PlanMoved):
        await asyncio.sleep(STALE_WAIT_S * (attempt % 8))
    else:
        await asyncio.sleep(min(STALE_WAIT_S, PART_WAIT_S * (attempt + 1)))


def _made(make: Make) -> Command | ChronosError:
    try:
        return make()
    except ChronosError as error:
        return error


def _told(result: Result) -> Answer:
    return error_of(result) if result.error else result
