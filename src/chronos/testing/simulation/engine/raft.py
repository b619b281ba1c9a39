"""Who leads the members, and in which order they apply: Raft, as etcd runs it (pre-vote, check-quorum, read indexes).

Every member is told of messages and of time by its `Ports`, and does nothing but through them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct

from chronos.testing.simulation.engine.messages import (
    Append,
    Appended,
    Beat,
    Beaten,
    Forward,
    Go,
    LogEntry,
    Proposal,
    RaftMessage,
    ReadAt,
    ReadIndex,
    Vote,
    Voted,
)

HEARTBEAT_S = 0.05
ELECTION_S = 0.5
ENTRIES_MAX = 64
"""How many entries one message takes along."""


class Disk:
    """What one member has on its disk; it outlives the process.

    Attributes:
        entries: The log, its first entry at place 0; of it the first `durable` are synced.
        applied: Up to which entry the database has everything.
    """

    def __init__(self) -> None:
        self.term = self.vote = 0
        self.kept_term = self.kept_vote = 0
        self.entries: list[LogEntry] = []
        self.durable = 0
        self.applied = 0
        self.cuts = 0

    @property
    def last(self) -> int:
        """The index of the last entry."""
        return len(self.entries)

    def term_at(self, index: int) -> int:
        """Return the term of an entry; 0 before the first."""
        return self.entries[index - 1].term if index else 0

    def cut(self, upto: int) -> None:
        """Drop the entries after `upto`."""
        del self.entries[upto:]
        self.durable = min(self.durable, upto)
        self.cuts += 1

    def crash(self) -> None:
        """Forget what was not synced."""
        self.term, self.vote = self.kept_term, self.kept_vote
        del self.entries[self.durable :]


class Ports(Protocol):
    """What a member can do."""

    @property
    def now(self) -> float: ...
    def later(self, seconds: float, do: Callable[[], None]) -> None: ...
    def send(self, to: int, message: RaftMessage) -> None: ...
    def synced(self, then: Callable[[], None]) -> None:
        """Call `then` once everything that is on the disk now is there for good."""
        ...

    def voters(self) -> list[int]: ...
    def others(self) -> list[int]: ...
    def apply(self, index: int, entry: LogEntry) -> None: ...
    def readable(self, read: int, index: int) -> None:
        """Whoever waits for `read` may be answered when `index` is applied."""
        ...

    def draw(self) -> float: ...
    def panic(self, why: str) -> None: ...


class Standing(Struct):
    """What the leader knows of another member."""

    next: int
    match: int = 0
    heard: float = 0.0
    number: int = 0
    sent: float = 0.0


class Raft:
    """One member's part, from a start of its process to its end.

    Attributes:
        leader: Whom it believes to lead; 0 while it knows nobody.
        commit: Up to which entry everybody has agreed.
    """

    def __init__(self, own: int, disk: Disk, ports: Ports) -> None:
        self.own = own
        self.disk = disk
        self.leader = 0
        self.commit = disk.applied
        self._ports = ports
        self._votes: set[int] = set()
        self._is_pre = False
        self._campaigns = False
        self._standings: dict[int, Standing] = {}
        self._reads: list[tuple[int, int, int, int]] = []  # (number, index, who asked, its id)
        self._early: list[tuple[int, int]] = []  # (who asked, its id): before the term has committed anything
        self._number = 0
        self._heard = ports.now
        self._led_since = 0.0
        self._patience = 0.0
        self._wait()

    @property
    def leads(self) -> bool:
        return self.leader == self.own

    # Time.

    def _wait(self) -> None:
        self._patience = ELECTION_S * (1 + self._ports.draw())
        self._ports.later(self._patience, self._on_silence)

    def _on_silence(self) -> None:
        left = self._heard + self._patience - self._ports.now
        if left > 0 or self.leads:
            self._ports.later(max(left, ELECTION_S / 2), self._on_silence)
            return
        self.leader = 0
        self._heard = self._ports.now
        if self.own in self._ports.voters():
            self._campaign(is_pre=True)
        self._wait()

    def _beat(self, term: int) -> None:
        if not self.leads or self.disk.term != term:
            return
        now = self._ports.now
        if now - self._led_since > ELECTION_S and not self._is_quorum(
            {one for one, standing in self._standings.items() if now - standing.heard < ELECTION_S}
        ):
            self._follow(self.disk.term, 0)
            return
        self._beat_all()
        self._ports.later(HEARTBEAT_S, lambda: self._beat(term))

    def _beat_all(self) -> None:
        self._number += 1
        for one in self._ports.others():
            standing = self._standing(one)
            commit = min(standing.match, self.commit)
            self._ports.send(one, Beat(self.disk.term, commit, self._number))
        if self._is_quorum(set()):
            self._answer_reads()

    def _standing(self, one: int) -> Standing:
        return self._standings.setdefault(one, Standing(self.disk.last + 1, heard=self._ports.now))

    def _is_quorum(self, others: set[int]) -> bool:
        voters = self._ports.voters()
        return 2 * sum(one in others or one == self.own for one in voters) > len(voters)

    # Messages.

    def take(self, frm: int, message: RaftMessage) -> None:
        """Take a message from another member."""
        match message:
            case Vote():
                self._on_vote(frm, message)
            case Voted():
                self._on_voted(frm, message)
            case Append():
                self._on_append(frm, message)
            case Appended():
                self._on_appended(frm, message)
            case Beat():
                self._on_beat(frm, message)
            case Beaten():
                self._on_beaten(frm, message)
            case Forward():
                self.propose(message.proposal)
            case ReadIndex():
                self._on_read(frm, message.id)
            case ReadAt():
                self._ports.readable(message.id, message.upto)
            case Go():
                if message.term == self.disk.term and self.own in self._ports.voters():
                    self._campaign(is_pre=False, is_transfer=True)

    # Elections.

    def _campaign(self, *, is_pre: bool, is_transfer: bool = False) -> None:
        disk = self.disk
        self._campaigns, self._is_pre, self._votes = True, is_pre, {self.own}
        self.leader = 0
        if not is_pre:
            disk.term, disk.vote = disk.term + 1, self.own
        term = disk.term + is_pre
        vote = Vote(term, disk.last, disk.term_at(disk.last), is_pre, is_transfer)

        def ask() -> None:
            if not self._campaigns or self._is_pre != is_pre or disk.term + is_pre != term:
                return
            for one in self._ports.others():
                self._ports.send(one, vote)
            self._count(term)

        if is_pre:
            ask()
        else:
            self._ports.synced(ask)

    def _on_vote(self, frm: int, vote: Vote) -> None:
        disk = self.disk
        has_leader = self.leader and self._ports.now - self._heard < ELECTION_S
        if (has_leader or self.leads) and not vote.is_transfer:
            return
        if vote.term < disk.term:
            self._ports.send(frm, Voted(disk.term, False, vote.is_pre))
            return
        newer = (vote.last_term, vote.last_index) >= (disk.term_at(disk.last), disk.last)
        if vote.is_pre:
            granted = newer and vote.term > disk.term
            self._ports.send(frm, Voted(vote.term if granted else disk.term, granted, True))
            return
        if vote.term > disk.term:
            self._follow(vote.term, 0)
        granted = newer and disk.vote in (0, frm)
        if granted:
            disk.vote = frm
            self._heard = self._ports.now
        self._ports.synced(lambda: self._ports.send(frm, Voted(vote.term, granted, False)))

    def _on_voted(self, frm: int, voted: Voted) -> None:
        if not voted.granted:
            if voted.term > self.disk.term:
                self._follow(voted.term, 0)
            return
        if self._campaigns and voted.is_pre == self._is_pre and voted.term == self.disk.term + self._is_pre:
            self._votes.add(frm)
            self._count(voted.term)

    def _count(self, term: int) -> None:
        if not self._is_quorum(self._votes):
            return
        if self._is_pre:
            self._campaign(is_pre=False)
            return
        self._campaigns = False
        self.leader = self.own
        self._led_since = self._ports.now
        self._standings, self._reads, self._early = {}, [], []
        self._add(LogEntry(term, None))
        self._beat(term)

    def _follow(self, term: int, leader: int) -> None:
        disk = self.disk
        if term > disk.term:
            disk.term, disk.vote = term, 0
        self.leader, self._campaigns = leader, False
        self._heard = self._ports.now

    def hand_over(self, to: int) -> None:
        """Let another member lead, if it can."""
        if self.leads and to in self._ports.voters():
            self._ports.send(to, Go(self.disk.term))

    # Replication.

    def propose(self, proposal: Proposal) -> None:
        """Have something agreed on; while nobody leads, or the message is lost, nothing comes of it."""
        if self.leads:
            self._add(LogEntry(self.disk.term, proposal))
        elif self.leader:
            self._ports.send(self.leader, Forward(proposal))

    def _add(self, entry: LogEntry) -> None:
        disk = self.disk
        disk.entries.append(entry)
        upto, term = disk.last, disk.term
        for one in self._ports.others():
            self._send(one)
        self._ports.synced(lambda: self._on_own(term, upto))

    def _on_own(self, term: int, upto: int) -> None:
        if self.leads and self.disk.term == term:
            self._commit_what_may(upto)

    def _send(self, one: int) -> None:
        disk, standing = self.disk, self._standing(one)
        before = standing.next - 1
        entries = tuple(disk.entries[before : before + ENTRIES_MAX])
        commit = min(self.commit, before + len(entries))
        self._ports.send(one, Append(disk.term, before, disk.term_at(before), entries, commit))
        standing.next += len(entries)
        standing.sent = self._ports.now

    def _on_append(self, frm: int, append: Append) -> None:
        disk = self.disk
        if append.term < disk.term:
            self._ports.send(frm, Appended(disk.term, False, 0))
            return
        self._follow(append.term, frm)
        if append.before > disk.last or disk.term_at(append.before) != append.before_term:
            self._ports.send(frm, Appended(append.term, False, min(append.before - 1, disk.last)))
            return
        index = append.before
        for entry in append.entries:
            index += 1
            if index <= disk.last and disk.term_at(index) != entry.term:
                if index <= self.commit:
                    self._ports.panic(f"entry {index} is committed, and is to be replaced")
                    return
                disk.cut(index - 1)
            if index > disk.last:
                disk.entries.append(entry)

        def done() -> None:
            if disk.term != append.term:
                return  # somebody else leads by now, and may have cut what was synced
            self._ports.send(frm, Appended(append.term, True, index))
            self._agreed(min(append.commit, index))

        if append.entries:
            self._ports.synced(done)
        else:
            done()

    def _on_appended(self, frm: int, appended: Appended) -> None:
        if appended.term > self.disk.term:
            self._follow(appended.term, 0)
        if not self.leads or appended.term != self.disk.term:
            return
        standing = self._standing(frm)
        standing.heard = self._ports.now
        if not appended.ok:
            standing.next = max(standing.match, min(appended.upto, standing.next - 1)) + 1
            self._send(frm)
            return
        standing.match = max(standing.match, appended.upto)
        standing.next = max(standing.next, standing.match + 1)
        self._commit_what_may(self.disk.durable)
        if standing.next <= self.disk.last:
            self._send(frm)

    def _commit_what_may(self, own: int) -> None:
        voters = self._ports.voters()
        reached = sorted(min(own, self.disk.durable) if one == self.own else self._match(one) for one in voters)
        if not reached:
            return
        index = reached[(len(reached) - 1) // 2]
        if index > self.commit and self.disk.term_at(index) == self.disk.term:
            self._agreed(index)
            early, self._early = self._early, []
            for asker, read in early:
                self._on_read(asker, read)
            self._beat_all()

    def _match(self, one: int) -> int:
        standing = self._standings.get(one)
        return standing.match if standing else 0

    def _agreed(self, index: int) -> None:
        """Apply up to `index`, as far as it lies on this disk for good."""
        self.commit = max(self.commit, index)
        disk = self.disk
        while disk.applied < min(self.commit, disk.durable):
            disk.applied += 1
            self._ports.apply(disk.applied, disk.entries[disk.applied - 1])

    # Heartbeats and reads.

    def _on_beat(self, frm: int, beat: Beat) -> None:
        if beat.term < self.disk.term:
            self._ports.send(frm, Beaten(self.disk.term, 0))
            return
        self._follow(beat.term, frm)
        if beat.commit > self.disk.last:
            self._ports.panic(f"tocommit({beat.commit}) is out of range [lastIndex({self.disk.last})]")
            return
        self._agreed(beat.commit)
        self._ports.send(frm, Beaten(beat.term, beat.number))

    def _on_beaten(self, frm: int, beaten: Beaten) -> None:
        if beaten.term > self.disk.term:
            self._follow(beaten.term, 0)
        if not self.leads or beaten.term != self.disk.term:
            return
        standing = self._standing(frm)
        standing.heard = self._ports.now
        standing.number = max(standing.number, beaten.number)
        if standing.match < self.disk.last and self._ports.now - standing.sent > 2 * HEARTBEAT_S:
            standing.next = standing.match + 1
            self._send(frm)
        self._answer_reads()

    def read(self, read: int) -> None:
        """Find out how far a read that starts now has to see; while nobody leads, nothing comes of it."""
        if self.leads:
            self._on_read(self.own, read)
        elif self.leader:
            self._ports.send(self.leader, ReadIndex(read))

    def _on_read(self, asker: int, read: int) -> None:
        if not self.leads:
            return
        if self.disk.term_at(self.commit) != self.disk.term:
            self._early.append((asker, read))
            return
        self._reads.append((self._number + 1, self.commit, asker, read))
        self._beat_all()

    def _answer_reads(self) -> None:
        """Answer the reads for which a majority has confirmed since that this member leads."""
        left = []
        for number, index, asker, read in self._reads:
            if not self._is_quorum({one for one, there in self._standings.items() if there.number >= number}):
                left.append((number, index, asker, read))
            elif asker == self.own:
                self._ports.readable(read, index)
            else:
                self._ports.send(asker, ReadAt(read, index))
        self._reads = left

    def lag(self) -> Mapping[int, int]:
        """Return, while this member leads, how many entries each other one lacks."""
        return {one: self.disk.last - standing.match for one, standing in self._standings.items()}
