"""Turns, as one node sees them: what it asks, what it believes to have, and what it does when nobody answers."""

from __future__ import annotations

import threading

import pytest
from tests.unit.repeater.virtual import Recorder, Script, VirtualMachine

from chronos.errors import ChronosError, Denied, Invalid, LeaseLost, NodeUnknown, Unavailable
from chronos.repeater.agenda import OnBusy, TickingAgenda
from chronos.repeater.coordinated import TurnsAgenda, TurnsMachine
from chronos.repeater.coordination import RETRY_S, TTL_S_MIN, Given, OnLoss, Turn, Turns, lease_s
from chronos.repeater.engine import Engine, Plan
from chronos.repeater.machine import Event
from chronos.repeater.modes.interval import Interval
from chronos.repeater.stops import Fate, Stops, Tally

GRACE_S = 1.0
TTL_S = lease_s(GRACE_S)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def time(self) -> float:
        return self.now_s

    def boottime(self) -> float:
        return self.now_s


class Coordinator:
    """Answers as it is told to, and takes note of what it was asked."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.trouble: ChronosError | None = None
        self.is_free = True
        self.token = 0

    def _hear(self, what: str) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.heard.append(what)

    def register(self) -> None:
        self._hear("register")

    def ask(self, request: str) -> Given:
        self._hear(f"ask {request}")
        if not self.is_free:
            return Given(0, 0.25)
        self.token += 1
        return Given(self.token)

    def renew(self, token: int) -> None:
        self._hear(f"renew {token}")

    def give_back(self, token: int) -> None:
        self._hear(f"return {token}")

    def leave(self) -> None:
        self._hear("leave")


class Node:
    """One node, on a clock that a test moves."""

    def __init__(self, on_loss: OnLoss = OnLoss.WAIT) -> None:
        self.clock = Clock()
        self.coordinator = Coordinator()
        self.woken = 0
        requests = iter(f"r{n}" for n in range(1, 1_000))
        self.turns = Turns(self.coordinator, self.clock, grace_s=GRACE_S, on_loss=on_loss, draw=lambda: next(requests))
        self.turns.wake_by(self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def look(self) -> float | None:
        """Look until there is nothing to ask at once; return for how long there is nothing."""
        for _ in range(10):
            pause_s = self.turns.look()
            if pause_s != 0:
                return pause_s
        raise AssertionError("it asks without end")

    def go_on(self, seconds: float) -> None:
        """Let time pass, looking whenever it says that it wants to."""
        end_s = self.clock.now_s + seconds
        while self.clock.now_s < end_s:
            pause_s = self.look()
            self.clock.now_s = min(end_s, self.clock.now_s + (seconds if pause_s is None else pause_s))

    def with_turn(self) -> Node:
        self.turns.want()
        self.look()
        assert self.turns.turn is not None
        return self


def test_it_registers_asks_until_granted_and_gives_back() -> None:
    node = Node()
    assert node.look() is None
    node.turns.want()
    node.turns.want()
    node.coordinator.is_free = False
    assert node.look() == 0.25
    assert node.turns.turn is None
    node.coordinator.is_free = True
    node.look()
    assert node.turns.turn == Turn(1)
    assert node.woken == 1
    node.turns.done()
    assert node.look() is None
    assert node.coordinator.heard == ["register", "ask r1", "ask r1", "return 1"]


def test_a_lease_is_renewed_at_a_third_of_its_time_for_as_long_as_it_is_held() -> None:
    node = Node().with_turn()
    node.go_on(TTL_S * 10)
    assert node.coordinator.heard.count("renew 1") == pytest.approx(30, abs=1)
    assert not node.turns.is_over(node.clock.now_s)


def test_a_run_ends_early_enough_for_its_grace_when_nobody_renews() -> None:
    node = Node().with_turn()
    granted_s = node.clock.now_s
    node.coordinator.trouble = Unavailable("gone")
    over_s = node.turns.over_s
    assert over_s is not None
    node.go_on(over_s - node.clock.now_s - 0.001)
    assert not node.turns.is_over(node.clock.now_s)
    node.clock.now_s = over_s
    assert node.turns.is_over(over_s)
    assert over_s + GRACE_S < granted_s + TTL_S
    assert node.turns.said() == ["the coordinator does not answer: gone"]


def test_one_renewal_that_gets_through_is_enough() -> None:
    node = Node().with_turn()
    node.coordinator.trouble = Unavailable("gone")
    node.go_on(TTL_S / 3 + RETRY_S / 2)
    node.coordinator.trouble = None
    node.go_on(TTL_S)
    assert not node.turns.is_over(node.clock.now_s)
    assert node.turns.said()[-1] == "the coordinator answers again"


@pytest.mark.parametrize("on_loss", OnLoss)
@pytest.mark.parametrize("told", [LeaseLost("over"), NodeUnknown("who?")])
def test_a_lease_that_the_coordinator_calls_over_is_over_at_once_whatever_the_policy(
    on_loss: OnLoss, told: ChronosError
) -> None:
    node = Node(on_loss).with_turn()
    node.clock.now_s += TTL_S / 3
    node.coordinator.trouble = told
    node.turns.look()
    assert node.turns.is_over(node.clock.now_s)
    node.coordinator.trouble = None
    node.turns.done()
    node.turns.want()
    node.look()
    assert node.turns.turn in (Turn(2), None)


def test_who_goes_on_alone_does_so_when_nobody_can_have_a_lease_any_more() -> None:
    node = Node(OnLoss.ALONE)
    node.look()
    node.coordinator.trouble = Unavailable("gone")
    node.turns.want()
    node.go_on(TTL_S - RETRY_S)
    assert node.turns.turn is None
    node.go_on(2 * RETRY_S)
    assert node.turns.turn == Turn(None)
    assert node.turns.over_s is None
    node.turns.done()
    assert node.look() is None
    assert node.turns.said()[-1] == "going on alone"


def test_a_run_that_is_on_goes_on_alone() -> None:
    node = Node(OnLoss.ALONE).with_turn()
    node.coordinator.trouble = Unavailable("gone")
    node.go_on(TTL_S)
    assert not node.turns.is_over(node.clock.now_s)
    assert node.turns.turn == Turn(None)


def test_who_is_alone_asks_again_for_the_next_run() -> None:
    node = Node(OnLoss.ALONE)
    node.coordinator.trouble = Unavailable("gone")
    node.turns.want()
    node.go_on(TTL_S + 1)
    node.turns.done()
    node.coordinator.trouble = None
    node.turns.want()
    node.look()
    assert node.turns.turn == Turn(1)


def test_one_failure_long_ago_and_one_now_are_no_loss() -> None:
    node = Node(OnLoss.STOP)
    node.coordinator.trouble = Unavailable("gone")
    node.look()
    node.clock.now_s += 3_600
    node.turns.want()
    node.look()
    assert node.turns.error == ""


def test_who_stops_says_why() -> None:
    node = Node(OnLoss.STOP)
    node.coordinator.trouble = Unavailable("gone")
    node.turns.want()
    node.go_on(TTL_S + 1)
    assert node.turns.error == "the coordinator does not answer"
    assert node.look() is None


def test_a_refusal_is_the_end_whatever_the_policy() -> None:
    node = Node()
    node.coordinator.trouble = Denied("You may not.")
    node.look()
    assert node.turns.error == "You may not."


def test_a_lease_that_cannot_be_given_back_is_left_to_end() -> None:
    node = Node().with_turn()
    node.coordinator.trouble = Unavailable("gone")
    node.turns.done()
    node.go_on(TTL_S + 1)
    node.coordinator.trouble = None
    node.look()
    assert "return 1" not in node.coordinator.heard


def test_an_unknown_node_registers_again_and_keeps_its_request() -> None:
    node = Node()
    node.look()
    node.turns.want()
    node.coordinator.trouble = NodeUnknown("who?")
    node.turns.look()
    node.coordinator.trouble = None
    node.look()
    assert node.coordinator.heard == ["register", "register", "ask r1"]


def test_leases_last_three_times_as_long_as_an_end_may_take() -> None:
    assert lease_s(0) == TTL_S_MIN
    assert lease_s(5) == 16.5
    with pytest.raises(Invalid):
        lease_s(1_200)


def test_the_thread_that_asks_ends_when_it_is_told_to() -> None:
    node = Node()
    granted = threading.Event()
    node.turns.wake_by(granted.set)
    thread = threading.Thread(target=node.turns.serve, daemon=True)
    thread.start()
    node.turns.want()
    assert granted.wait(30)
    node.turns.close()
    thread.join(30)
    assert not thread.is_alive()
    node.turns.leave()
    assert node.coordinator.heard == ["register", "ask r1", "leave"]


class Bench:
    """An engine that takes turns, on virtual time; the coordinator is asked between two turns of the engine."""

    def __init__(self, script: Script, *, times: int, on_busy: OnBusy = OnBusy.SKIP, on_loss: OnLoss = OnLoss.WAIT):
        self.node = node = Node(on_loss)
        node.clock.now_s = 0.0
        self.machine = VirtualMachine(lambda _: script)
        self.plans: dict[float, str] = {}
        bench = self

        class Asking(TurnsMachine):
            def wait(self, until_s: float | None) -> list[Event]:
                bench.look()
                pause_s = node.look()
                ends = [until_s, None if pause_s is None else bench.machine.now_s + pause_s, *bench.plans]
                if node.woken:  # `wait` returns early
                    ends, node.woken = [bench.machine.now_s], 0
                found = super().wait(min((each for each in ends if each is not None), default=None))
                bench.look()
                node.look()
                return [*found, *self._heeded()]

        self.tally = Tally(Stops(times=times))
        self.recorder = Recorder()
        agenda = TurnsAgenda(TickingAgenda(Interval(1.0), on_busy=on_busy), node.turns)
        plan = Plan(("work",), stops=Stops(times=times), grace_s=GRACE_S)
        self.engine = Engine(plan, agenda, Asking(self.machine, node.turns), self.tally, [self.recorder])

    def look(self) -> None:
        """Let happen what is planned by now."""
        self.node.clock.now_s = self.machine.now_s
        for at in [at for at in self.plans if at <= self.machine.now_s]:
            what = self.plans.pop(at)
            self.node.coordinator.is_free = what != "taken"
            self.node.coordinator.trouble = Unavailable("gone") if what == "gone" else None

    def run(self) -> Bench:
        self.engine.run()
        return self


def test_each_run_has_its_own_token_and_starts_at_its_tick() -> None:
    bench = Bench(Script(takes_s=0.1), times=3).run()
    assert bench.machine.starts_s == pytest.approx([0, 1, 2])
    assert [each["RPR_FENCING_TOKEN"] for each in bench.machine.environments] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("on_busy", "starts_s"),
    [(OnBusy.SKIP, [0, 3.25, 4, 5]), (OnBusy.QUEUE, [0, 3.25, 3.35, 3.45]), (OnBusy.RESTART, [0, 3.25, 4, 5])],
)
def test_who_waits_for_its_turn_is_busy(on_busy: OnBusy, starts_s: list[float]) -> None:
    bench = Bench(Script(takes_s=0.1), times=4, on_busy=on_busy)
    bench.plans = {0.5: "taken", 3.2: "free"}
    bench.run()
    assert [round(start_s, 2) for start_s in bench.machine.starts_s] == pytest.approx(starts_s, abs=0.06)


def test_a_run_that_has_lost_its_turn_is_ended_has_failed_and_the_next_waits() -> None:
    bench = Bench(Script(takes_s=30, exit_code=0), times=2)
    bench.plans = {0.2: "gone", 20.0: "free", 20.1: "free"}
    bench.run()
    first, second = bench.recorder.reports
    assert (first.fate, second.fate) == (Fate.REVOKED, Fate.OK)
    assert first.run.ended_s + GRACE_S < TTL_S
    assert bench.machine.starts_s[1] >= 20
    assert not bench.tally.is_success()


def test_a_coordinator_that_is_gone_for_good_ends_the_repetition_that_wants_it_so() -> None:
    bench = Bench(Script(takes_s=0.1), times=9, on_loss=OnLoss.STOP)
    bench.plans = {0.5: "gone"}
    bench.run()
    assert (bench.engine.stopped_by, bench.engine.error) == (1, "the coordinator does not answer")
    assert bench.tally.ended == 1
