"""`adaptive`: slower while runs fail or take long, faster while they are quick, with a circuit that knows the odds."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from chronos.repeater.modes.bounds import need_inside, need_number, need_range, shown_s
from chronos.repeater.port import Moment, Run

STEP_S = 0.2
FACTOR = 0.6
SMOOTHING = 0.1
MEMORY = 0.95
RECOVERED = 0.8
MIN_S_DEFAULT = 0.1
MAX_S_DEFAULT = 30.0


class Circuit(Enum):
    """How much the target is trusted; a run is never forbidden, only put further off."""

    CLOSED = "CLOSED"
    HALF_OPEN = "HALF-OPEN"
    OPEN = "OPEN"


_STRETCH = {Circuit.CLOSED: 1, Circuit.HALF_OPEN: 2, Circuit.OPEN: 4}


class Bounds(NamedTuple):
    """What an adaptive interval moves between, all in seconds but `failure`."""

    min_s: float
    max_s: float
    fast_s: float
    slow_s: float
    failure: float


class State(NamedTuple):
    """What is known after some runs.

    Attributes:
        interval_s: Before the circuit stretches it.
        latency_s: The smoothed time a run takes; None before the first one.
        successes, failures: Weights of the runs there were, the older the lighter, one of each to begin with.
    """

    interval_s: float
    latency_s: float | None = None
    successes: float = 1.0
    failures: float = 1.0
    circuit: Circuit = Circuit.CLOSED

    @property
    def success_probability(self) -> float:
        return self.successes / (self.successes + self.failures)


def learned(state: State, bounds: Bounds, *, ok: bool, took_s: float) -> State:
    """Return what is known after one more run.

    Additive increase, multiplicative decrease of the rate; an exponentially weighted mean of the latency; a
    Beta-Bernoulli estimate of the odds that forgets.
    """
    latency_s = took_s if state.latency_s is None else (1 - SMOOTHING) * state.latency_s + SMOOTHING * took_s
    following = State(
        interval_s=_interval_s(state.interval_s, bounds, ok=ok, latency_s=latency_s),
        latency_s=latency_s,
        successes=MEMORY * state.successes + ok,
        failures=MEMORY * state.failures + (not ok),
    )
    return following._replace(circuit=_circuit(state.circuit, following.success_probability, bounds.failure))


def wait_s(state: State, bounds: Bounds) -> float:
    """Return how long to wait: the interval, twice that while half open, four times while open, the longest at most."""
    return min(bounds.max_s, _STRETCH[state.circuit] * state.interval_s)


def _interval_s(interval_s: float, bounds: Bounds, *, ok: bool, latency_s: float) -> float:
    if not ok:
        interval_s /= FACTOR
    elif latency_s > bounds.slow_s:
        interval_s += STEP_S
    elif latency_s < bounds.fast_s and interval_s > STEP_S:
        interval_s -= STEP_S
    # Whole microseconds: three steps down from 0.8 are to be 0.2, and not a little more.
    return min(bounds.max_s, max(bounds.min_s, round(interval_s, 6)))


def _circuit(circuit: Circuit, odds: float, failure: float) -> Circuit:
    if odds < failure:
        return Circuit.OPEN
    if odds > RECOVERED:
        return Circuit.HALF_OPEN if circuit is Circuit.OPEN else Circuit.CLOSED
    return circuit


class Adaptive:
    """Run 1 at once; each next one `wait_s` after the end of the one before, which is taken into account."""

    def __init__(
        self,
        base_s: float,
        *,
        min_s: float = MIN_S_DEFAULT,
        max_s: float = MAX_S_DEFAULT,
        slow: float = 2.0,
        fast: float = 0.5,
        failure: float = 0.3,
        immediate: bool = True,
    ) -> None:
        """Take the interval to begin with and its bounds.

        Args:
            slow, fast: Shares of `base_s`: a run that takes longer is slow, one that takes less is fast.
            failure: The circuit opens when the probability of a success falls below it.
            immediate: Whether run 1 is at once; otherwise it is one base interval later.

        Raises:
            ModeInvalid: The bounds do not ascend, `base_s` is outside of them, or a threshold makes no sense.
        """
        need_range(min_s, max_s)
        need_inside("base-interval", base_s, min_s, max_s)
        need_number("slow-threshold", slow, above=1)
        need_number("fast-threshold", fast, above=0, below=1)
        need_number("failure-threshold", failure, above=0, below=1)
        self._base_s = base_s
        self._immediate = immediate
        self._bounds = Bounds(min_s, max_s, fast_s=fast * base_s, slow_s=slow * base_s, failure=failure)
        self.state = State(base_s)

    def first_s(self, now: Moment) -> float:
        return now.monotonic_s if self._immediate else now.monotonic_s + self._base_s

    def next_s(self, last: Run, now: Moment) -> float | None:
        self.state = learned(self.state, self._bounds, ok=last.ok, took_s=max(0.0, last.ended_s - last.started_s))
        return max(now.monotonic_s, last.ended_s + wait_s(self.state, self._bounds))

    def describe(self) -> str:
        low, high = shown_s(self._bounds.min_s), shown_s(self._bounds.max_s)
        return f"{shown_s(self._base_s)} to begin with, then between {low} and {high} by success and latency"
