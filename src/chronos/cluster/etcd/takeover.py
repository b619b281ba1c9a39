"""When a node may take the lead from one that is not heard any more. No lease, and no clock that two nodes share.

    follows ── nothing heard of the leader for a while ──▶ claims ── won ──▶ leads
       ▲                                                      │                │
       └────── somebody else has won, or is heard again ──────┴─── lost ◀──────┘

It decides by what it is told and does nothing itself: no waiting, no network. A claim holds in the log only if the
lead is with whom it was seen with, and nothing was appended that was not seen; so a claim that comes late, or from a
node that lags behind or has slept, takes nothing from a leader that is well. What makes the lead safe is none of
this: every append of every leader holds only in its own epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct

from chronos.cluster.port import Claim, LeaderInfo

_APPEND_LEAST_S = 0.5
_AGAIN_S = 0.1
_LATE_S = 0.2
"""So long after etcd has a new leader of its own, entries turn up that were appended before the old one died."""
_NOBODY = LeaderInfo("", "", -1)


class TakeoverSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How soon a silent leader is replaced.

    Attributes:
        silence_s: Seconds in which nothing was heard of the leader, which writes every 250 ms that it is there. An
            append that takes longer ends the leader's own term.
        rank: This node's place among all nodes, from 0: they do not all claim at once.
        stagger_s: How much later each of them does than the one before it.
        spread_s: Up to so much later again, by chance.
        handicap_s: How much later a node does that has led and could not go on.
    """

    silence_s: float = 1.5
    rank: int = 0
    stagger_s: float = 0.15
    spread_s: float = 0.1
    handicap_s: float = 0.5


class Bid(NamedTuple):
    """A claim that is to be made: holds if nobody has led since `seen`, and nothing lies behind `last`, if given."""

    seen: int
    last: int | None


class Takeover:
    """One node's view of who leads. All times are seconds of one clock that never steps back.

    Args:
        draw: Returns a number from [0, 1), by chance.

    Attributes:
        epoch: In which this node leads; 0 while it does not.
        last: The last entry that was seen.
    """

    def __init__(self, node: str, settings: TakeoverSettings, now: float, draw: Callable[[], float]) -> None:
        self._node = node
        self._settings = settings
        self._draw = draw
        self._leader = _NOBODY
        self._quiet_since = now
        self._patience_s = float("inf")
        self._not_before = now
        self._own_epoch = 0
        self._has_failed = self._is_unsure = self._is_ghost = False
        self._appended_at: float | None = None
        self._term, self._term_since = 0, now - _LATE_S
        self.epoch = 0
        self.last = 0

    # What is heard.

    def heard_leader(self, now: float, leader: LeaderInfo) -> None:
        """Take in who leads; what is older than what is known changes nothing."""
        if leader.epoch <= self._leader.epoch:
            return
        is_first, self._leader = self._leader is _NOBODY, leader
        if leader.node not in ("", self._node):
            self._has_failed = False
        # Nobody leads in the name of this node but this node: an earlier life, or a claim that was not answered.
        is_other = leader.node == self._node and leader.epoch != self._own_epoch
        self._is_ghost, self._is_unsure = is_other and (is_first or self._is_unsure), False
        self._quiet_since = now
        self._patience_s = 0.0 if self._is_ghost else self._silence_s(leader) + self._turn_s()

    def heard_entry(self, now: float, index: int, term: int = 0) -> None:
        """Take in that an entry has come; one that was known already says nothing of the leader.

        Args:
            term: Of etcd itself, when the entry came; 0 when that is not known.
        """
        if term > self._term:
            self._term_since = now if self._term else self._term_since
            self._term = term
        if index > self.last:
            self.last = index
            if now - self._term_since < _LATE_S:
                self._doubt(now)
            else:
                self._quiet_since = max(self._quiet_since, now)

    def learned_last(self, index: int) -> None:
        """Take in how far the log goes, as it was asked."""
        self.last = max(self.last, index)

    def _doubt(self, now: float) -> None:
        """Give the leader half the time to show that it is there: what came may be older than its death."""
        self._quiet_since = max(self._quiet_since, now - self._settings.silence_s / 2)

    def _silence_s(self, leader: LeaderInfo) -> float:
        if leader.node:
            return self._settings.silence_s
        return 0.0 if leader.to in ("", self._node) else self._settings.silence_s / 2

    def _turn_s(self) -> float:
        settings = self._settings
        handicap_s = settings.handicap_s if self._has_failed else 0.0
        return settings.rank * settings.stagger_s + settings.spread_s * self._draw() + handicap_s

    # Claiming.

    @property
    def claims_at(self) -> float:
        """When a claim is due, if nothing is heard until then."""
        return max(self._quiet_since + self._patience_s, self._not_before)

    def bid(self, now: float) -> Bid | None:
        """Return the claim that is due; None when none is."""
        if self.epoch or now < self.claims_at:
            return None
        # Where nobody can append any more, nothing can have been missed that matters.
        nobody_appends = self._is_ghost or not self._leader.node
        return Bid(self._leader.epoch, None if nobody_appends else self.last)

    def claimed(self, now: float, claim: Claim) -> None:
        """Take in what has become of a claim."""
        if claim.won:
            self.epoch = self._own_epoch = claim.leader.epoch
            self._leader = claim.leader
            self._has_failed = self._is_unsure = False
            self._appended_at = None
            return
        self.heard_leader(now, claim.leader)
        if claim.moved:
            self._doubt(now)

    def unanswered(self, now: float) -> None:
        """Take in that nobody knows what has become of a claim."""
        self._is_unsure = True
        self._not_before = now + _AGAIN_S

    # Leading.

    def appended(self, sent_at: float) -> None:
        """Take in that an append has succeeded, which was sent at `sent_at`."""
        self._appended_at = sent_at

    def append_within_s(self, now: float) -> float:
        """Return how many seconds an append may take that is sent now: then the others take over, if they can."""
        silence_s = self._settings.silence_s
        if self._appended_at is None:
            return silence_s
        return max(self._appended_at + silence_s - now, min(_APPEND_LEAST_S, silence_s))

    def lost(self, now: float) -> None:
        """Take in that this node leads no more."""
        if self.epoch:
            self.epoch = 0
            self._has_failed, self._is_ghost = True, False
            self._quiet_since = max(self._quiet_since, now if self._appended_at is None else self._appended_at)
            self._patience_s = self._silence_s(self._leader) + self._turn_s()
