"""Questions to a worker whether something can still be taken back, and the truth when it is gone before it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import count

from chronos.dispatch.port import Delivery, Done, NotSent, Outcome
from chronos.dispatch.workers.channel import Channel
from chronos.dispatch.workers.hand import Hand
from chronos.dispatch.workers.protocol import Recall, ToMain

GiveBack = Callable[[list[Delivery], Outcome], None]


class _Asked:
    """One question.

    Attributes:
        ended: Which of them have ended since it was asked, and whether they had been sent.
        dropped: What the worker has dropped.
    """

    def __init__(self, execution_ids: Iterable[str]) -> None:
        self.execution_ids = frozenset(execution_ids)
        self.ended: dict[str, bool] = {}
        self.dropped: list[Delivery] = []
        self.answer: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()


class Recalls:
    """The questions to one worker that are open.

    Args:
        give_back: Takes what was dropped for somebody who does not wait for it any more.
    """

    def __init__(self, hand: Hand, give_back: GiveBack) -> None:
        self._hand = hand
        self._give_back = give_back
        self._open: dict[int, _Asked] = {}
        self._numbers = count(1)

    async def ask(self, execution_ids: list[str], channel: Channel[ToMain], seconds: float) -> dict[str, str]:
        """Return for each id `dropped`, `sent`, or `unknown` where it has come back by itself meanwhile.

        What the worker does not say in time counts as sent; should it drop it later, it comes back.
        """
        asked = _Asked(execution_ids)
        number = next(self._numbers)
        self._open[number] = asked
        channel.send(Recall(number, execution_ids))
        answers: dict[str, str] = {}
        try:
            async with asyncio.timeout(seconds):
                answers = await asked.answer
        except TimeoutError:
            if asked.answer.done() and not asked.answer.cancelled():
                answers = asked.answer.result()
        except asyncio.CancelledError:
            self._give_back(asked.dropped, NotSent("recalled"))
            raise
        return {each: self._truth(each, answers.get(each, ""), asked) for each in execution_ids}

    def _truth(self, execution_id: str, answer: str, asked: _Asked) -> str:
        if answer in ("dropped", "sent"):
            return answer
        if execution_id in asked.ended:
            return "sent" if asked.ended[execution_id] else "unknown"
        return "sent" if execution_id in self._hand else "unknown"

    def note(self, ended: list[Done]) -> None:
        """Take note of attempts that end."""
        for asked in self._open.values():
            for done in ended:
                if done.execution_id in asked.execution_ids:
                    was_sent = not isinstance(done.outcome, NotSent)
                    asked.ended[done.execution_id] = asked.ended.get(done.execution_id, False) or was_sent

    def answer(self, number: int, answers: dict[str, str]) -> None:
        """Take the worker's answer."""
        asked = self._open.pop(number, None)
        if asked is None:
            return
        for execution_id, answer in answers.items():
            if answer == "dropped" and execution_id in asked.execution_ids:
                asked.dropped += self._hand.drop(execution_id)
        if asked.answer.done():
            self._give_back(asked.dropped, NotSent("recalled"))
        else:
            asked.answer.set_result(answers)

    def close(self) -> None:
        """The worker is gone: nobody will answer, and what it had has been noted."""
        asked, self._open = self._open, {}
        for one in asked.values():
            if not one.answer.done():
                one.answer.set_result({})
