"""The command log of a node that is one of several: it follows until it leads, and follows again when it does no more.

    leads     submit ─▶ queue ─▶ append ─▶ fold ─▶ listeners ─▶ answer            (as `CommandLog`, alone)
    follows   submit ─▶ the leader appends it, and says where ─▶ the entry comes back in the log ─▶ fold ─▶ answer

Every node folds every entry, so whoever has something written through the leader has the verdict from the own fold:
what was acknowledged can be read at once on the node that acknowledged it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from chronos.errors import Invalid, LogFailed, NotLeader, Overloaded, SnapshotNeeded, Unavailable
from chronos.store.batch import Submission, encode_submissions
from chronos.store.commandlog import CommandLog, CommandLogSettings, _Appended
from chronos.store.commands import Command, NewLeader, decode_command, decode_entry
from chronos.store.entryfold import StepwiseFold
from chronos.store.port import At, FollowedLog, LogRow, Result
from chronos.store.state import State
from chronos.store.verdicts import Verdicts
from chronos.telemetry import Telemetry
from chronos.timing.clock import Chance, Clock

Forward = Callable[[str, Sequence[bytes]], Awaitable[tuple[int, int]]]
"""Has commands written by a node, by its name; returns their entry, and how many commands stand before them there."""

Alive = Callable[[Mapping[str, int]], None]

BEAT_S = 0.25
"""A leader that has nothing to write writes that it is there: others take over when they hear nothing."""
AHEAD_MAX = 64
"""Entries that are read and not yet folded."""
FORWARD_S = 5.0
"""How long what was forwarded may take until it is folded here; nobody can say what became of it then."""
MOVED_S = 0.25
"""How long a leader that leads no more is still let answer what was forwarded to it."""
FORWARDS_MAX = 10_000
FOLLOW_AGAIN_S = 0.25
DOUBT_S = 5.0
"""How long whoever waits for an entry of unknown fate is let wait for it to turn up."""

_encode = msgspec.msgpack.Encoder().encode


class ClusterLog(CommandLog):
    """A `CommandLog` over a log that others append to as well.

    Args:
        forward: Takes commands to the leader.

    Attributes:
        leads: Whether this node does, and takes commands in.
        lost: Set while it does not.
        heard_s: When the last entry came in from the log, or was written to it, by boot time.
        on_alive: Called with what an entry says of who lives, after it is folded.
    """

    def __init__(
        self,
        log: FollowedLog,
        state: State,
        clock: Clock,
        chance: Chance,
        *,
        forward: Forward,
        settings: CommandLogSettings | None = None,
        fold: StepwiseFold | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        super().__init__(log, state, clock, chance, settings=settings, fold=fold, telemetry=telemetry)
        self._followed = log
        self._forward = forward
        self._leader, self._moved = "", asyncio.Event()
        self.leads = False
        self.lost = asyncio.Event()
        self.lost.set()
        self.heard_s = clock.boottime()
        self.on_alive: Alive = lambda alive: None
        self._node = self._incarnation = ""
        self._at_rest, self._folded = asyncio.Event(), asyncio.Event()
        self._at_rest.set()
        self._doubt: _Doubt | None = None
        self._sent = b""
        self._sent_s = 0.0
        self._renewals: dict[str, int] = {}
        self._alive: dict[int, Mapping[str, int]] = {}
        self._verdicts = Verdicts()
        self._forwards: set[asyncio.Task[list[Result]]] = set()
        self._following: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None

    @property
    def leader(self) -> str:
        """Who leads, as far as it is known here; empty when nobody does. Set by who watches the log's leadership."""
        return self._leader

    @leader.setter
    def leader(self, node: str) -> None:
        if node != self._leader:
            self._moved.set()
            self._leader, self._moved = node, asyncio.Event()

    async def until_led_by(self, node: str) -> None:
        """Return when `node` leads, as far as it is known here. The deadline is the caller's."""
        while self._leader != node:
            await self._moved.wait()

    # Life.

    async def start(self, node: str, incarnation: str, *, on_recovered: Callable[[float], None] | None = None) -> None:
        """Fold what state lacks, and follow. Commands are taken in from now on, as long as there is a leader.

        Raises:
            LogDamaged: State is ahead of the log: entries it has folded are gone.
            SnapshotNeeded: The log begins behind what state has.
        """
        self._node, self._incarnation = node, incarnation
        await self._recover()
        if on_recovered is not None:
            on_recovered(self._last_time_us / 1e6)
        self._run_stages()
        self._follow_on()
        self._beating = asyncio.create_task(self._beat(), name="beat")
        self._closed = None

    async def stop(self) -> None:
        """Answer what was submitted, flush, and end. Stopping twice, or unstarted, does nothing."""
        ending, self._following, self._beating = (self._following, self._beating), None, None
        await _end(*ending)
        await super().stop()
        self._give_up_doubt()
        await _end(*self._forwards)

    # Roles.

    async def lead(self, epoch: Any) -> None:
        """Having won `epoch`: fold to the end, begin a term, and take commands in.

        Raises:
            NotLeader: The lead was lost on the way; it goes on following.
        """
        await self._at_rest.wait()
        await self._reach(await self._followed.read_barrier())
        following, self._following = self._following, None
        await _end(following)
        self._epoch = epoch
        self.lost.clear()
        # Nothing else can be in the queue: nobody's commands are taken in before this is durable.
        boot = self._enqueue([NewLeader(self._node, self._incarnation)])
        if not await self._is_there(boot):
            raise NotLeader("The lead was lost before the term had begun.", leader=self.leader)
        self.leads, self.leader = True, self._node

    def step_down(self) -> None:
        """Take nothing in any more, and follow. What is on its way is answered when it turns up in the log, or not."""
        if self.lost.is_set():
            return
        self.leads = False
        if self.leader == self._node:
            self.leader = ""
        self._epoch = None
        gone = NotLeader("This node leads no more; nothing was written.", leader=self.leader)
        for submission in self._queue.take(1 << 62, 1 << 62):
            submission.fail(gone)
        self._renewals.clear()
        self.lost.set()
        self._follow_on()

    async def until_lost(self) -> None:
        """Return when this node leads no more."""
        await self.lost.wait()

    async def reach(self, index: int) -> None:
        """Return when the entry at `index` is folded here. The deadline is the caller's."""
        await self._reach(index)

    async def barrier(self) -> int:
        """Return when everything is folded here that was acknowledged anywhere before; with the entry it reaches to.

        Raises:
            Unavailable: There is no quorum to ask.
        """
        index = await self._followed.read_barrier()
        await self._reach(index)
        return index

    # Taking commands in.

    def submit(self, commands: Sequence[Command]) -> asyncio.Future[list[Result]]:
        """Enqueue commands, here or at the leader, and return at once. See `CommandLog.submit`.

        Forwarded, the order of calls is not the order in the log; wait for one before asking for the other.

        Raises:
            NotLeader: Nobody leads as far as this node knows; nothing was written.
        """
        if self.leads:
            return super().submit(commands)
        if self._closed is not None:
            raise self._closed
        if not self.leader or self.leader == self._node:
            raise NotLeader("No node leads at the moment; ask again in a second or two.")
        if len(self._forwards) >= FORWARDS_MAX:
            raise Overloaded(waiting=len(self._forwards))
        task = asyncio.create_task(self._forwarded(self.leader, commands))
        self._forwards.add(task)
        task.add_done_callback(self._on_forwarded)
        return task

    async def write_for(self, commands: Sequence[bytes]) -> tuple[int, int]:
        """Write what another node has forwarded; return its entry, and its place there, once that is durable.

        Raises:
            ChronosError: What `submit` raises, or `Invalid` for what is no command.
        """
        if not self.leads:
            raise NotLeader(leader=self.leader)
        if self._closed is not None:
            raise self._closed
        try:
            decoded = [decode_command(data) for data in commands]
        except msgspec.MsgspecError as exc:
            raise Invalid(f"The forwarded commands cannot be read: {exc}") from exc
        loop = asyncio.get_running_loop()
        submission = _Forwarded(decoded, loop.create_future(), loop.create_future(), self._clock.boottime())
        self._queue.put(submission)
        self._submitted.set()
        return await submission.placed

    def renew(self, incarnation: str, seq: int) -> None:
        """Say with the next entry that `incarnation` lives.

        Raises:
            NotLeader: This node does not lead.
        """
        if not self.leads:
            raise NotLeader(leader=self.leader)
        self._renewals[incarnation] = seq

    async def _forwarded(self, leader: str, commands: Sequence[Command]) -> list[Result]:
        encoded = [_encode(command) for command in commands]
        with self._verdicts.kept():
            try:
                async with asyncio.timeout(FORWARD_S):
                    index, place = await self._placed(leader, encoded)
                    results = await self._verdicts.of(index)
            except TimeoutError:
                raise Unavailable("The leader did not answer in time; nobody can say whether it was written.") from None
        return results[place : place + len(commands)]

    async def _placed(self, leader: str, encoded: Sequence[bytes]) -> tuple[int, int]:
        """Return where the leader has written commands; when another leads meanwhile, it is not waited for long.

        Raises:
            Unavailable: It did not say.
        """
        asked, moved = asyncio.ensure_future(self._forward(leader, encoded)), asyncio.create_task(self._moved.wait())
        try:
            await asyncio.wait([asked, moved], return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                await asyncio.wait([asked], timeout=MOVED_S)
            if not asked.done():
                raise Unavailable("The lead went to another node meanwhile; nobody can say whether it was written.")
            return asked.result()
        finally:
            moved.cancel()
            asked.cancel()

    def _on_forwarded(self, task: asyncio.Task[list[Result]]) -> None:
        self._forwards.discard(task)
        if not task.cancelled():
            task.exception()  # whoever did not wait need not hear of it

    # Leading.

    def _encode(self, submissions: list[Submission], time_us: int) -> bytes:
        alive, self._renewals = self._renewals, {}
        self._sent = encode_submissions(submissions, time_us, self._chance.bytes(16), alive)
        if alive:
            self._alive[self._last + 1] = alive
        return self._sent

    async def _append(self, submissions: list[Submission]) -> None:
        if self._epoch is None:
            raise AssertionError("nothing is in the queue while this node follows")
        self._at_rest.clear()
        before, self._sent_s = self._last, self._clock.boottime()
        try:
            await super()._append(submissions)
        except LogFailed:
            raise
        except Unavailable:
            # Somebody else leads, or nobody can say. Which of the two the log will tell.
            self._alive.pop(self._last + 1, None)
            self._doubt = _Doubt(self._last + 1, self._sent, self._inflight)
            self._inflight = []
            asyncio.get_running_loop().call_later(DOUBT_S, self._lose_patience, self._doubt)
            self.step_down()
        finally:
            self._at_rest.set()
        if self._last > before:
            self.heard_s = self._clock.boottime()
            _tell_places(self._last, submissions)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            is_idle = self._clock.boottime() - self._sent_s >= BEAT_S / 2
            if self.leads and is_idle and not self._queue and self._at_rest.is_set():
                self._enqueue([])

    async def _is_there(self, boot: asyncio.Future[list[Result]]) -> bool:
        """Wait for the record that begins a term; return whether it is there, and the lead still held."""
        losing = asyncio.create_task(self.lost.wait())
        try:
            waiting: list[asyncio.Future[Any]] = [boot, losing]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            losing.cancel()
        return not self.lost.is_set() and boot.done() and boot.exception() is None

    # Following.

    def _follow_on(self) -> None:
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow(), name="follow")
            self._following.add_done_callback(self._on_follow_end)

    async def _follow(self) -> None:
        await self._at_rest.wait()
        while True:
            try:
                async for row in self._followed.follow(self._last + 1):
                    await self._take_in(row)
            except (LogFailed, SnapshotNeeded):
                raise
            except Unavailable:
                await asyncio.sleep(FOLLOW_AGAIN_S)

    async def _take_in(self, row: LogRow) -> None:
        assert row.index == self._last + 1, f"entry {row.index} does not follow {self._last}"
        entry = decode_entry(row.data)
        submissions: list[Any] = [_Followed(entry.commands, row.index, self._verdicts)]
        doubt = self._doubt
        if doubt is not None and doubt.index == row.index:
            self._doubt = None
            if doubt.data == row.data:
                submissions = doubt.submissions
                _tell_places(row.index, submissions)
            else:
                doubt.fail(NotLeader("Another node has taken the lead; nothing was written.", leader=self.leader))
        if entry.alive:
            self._alive[row.index] = entry.alive
        self._last, self._last_time_us, self.heard_s = row.index, entry.time_us, self._clock.boottime()
        self._appended.append(_Appended(At(row.index, entry.time_us), submissions))
        self._durable.set()
        while len(self._appended) > AHEAD_MAX:
            self._folded.clear()
            await self._folded.wait()

    async def _fold_one(self, entry: _Appended) -> None:
        await super()._fold_one(entry)
        alive = self._alive.pop(entry.at.index, None)
        if alive:
            self.on_alive(alive)
        self._folded.set()

    async def _reach(self, index: int) -> None:
        while self.applied < index:
            self._folded.clear()
            await self._folded.wait()

    # Ends.

    def _lose_patience(self, doubt: _Doubt) -> None:
        doubt.fail(Unavailable("The lead was lost while this was on its way; nobody can say whether it was written."))

    def _give_up_doubt(self) -> None:
        if self._doubt is not None:
            self._lose_patience(self._doubt)

    def _on_follow_end(self, task: asyncio.Task[None]) -> None:
        # However it takes it that it is ended: only who ends by itself has failed.
        if task is self._following and not task.cancelled():
            self._on_end(task)

    def _all_waiting(self) -> list[Submission]:
        return [*super()._all_waiting(), *(self._doubt.submissions if self._doubt is not None else ())]


class _Doubt(Struct, frozen=True):
    """An entry that was on its way when the lead was lost."""

    index: int
    data: bytes
    submissions: list[Submission]

    def fail(self, error: Exception) -> None:
        for submission in self.submissions:
            submission.fail(error)


class _Forwarded(Submission):
    """Commands of another node, which wants to know where they stand."""

    __slots__ = ("placed",)

    def __init__(
        self,
        commands: Sequence[Command],
        answer: asyncio.Future[list[Result]],
        placed: asyncio.Future[tuple[int, int]],
        since_s: float,
    ) -> None:
        super().__init__(commands, answer, since_s=since_s)
        self.placed = placed

    def fail(self, error: Exception) -> None:
        super().fail(error)
        if not self.placed.done():
            self.placed.set_exception(error)
            self.placed.exception()


class _Followed:
    """Commands that another node has appended; it stands where a submission does, and nobody here waits for it."""

    __slots__ = ("_index", "_verdicts", "commands")

    def __init__(self, commands: Sequence[Command], index: int, verdicts: Verdicts) -> None:
        self.commands = commands
        self._index = index
        self._verdicts = verdicts

    def succeed(self, results: list[Result]) -> None:
        self._verdicts.note(self._index, results)

    def fail(self, error: Exception) -> None:
        """Nobody waits."""


def _tell_places(index: int, submissions: Sequence[Submission]) -> None:
    place = 0
    for submission in submissions:
        if isinstance(submission, _Forwarded) and not submission.placed.done():
            submission.placed.set_result((index, place))
        place += len(submission.commands)


async def _end(*tasks: asyncio.Task[Any] | None) -> None:
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
