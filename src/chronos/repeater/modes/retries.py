"""The strategies that retry: run until it works once, or until the attempts are used up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from chronos.repeater.modes import growth
from chronos.repeater.modes.bounds import (
    ATTEMPTS_DEFAULT,
    WAIT_S_DEFAULT_MAX,
    need_at_least,
    need_attempts,
    need_number,
    need_wait,
    shown_s,
)
from chronos.repeater.port import ModeInvalid, Moment, Run
from chronos.timing.clock import Dice

GROWTH_MAX = 10.0
DELAYS_MAX = 1_000


class Retries(ABC):
    """Run 1 at once; each next one `delay_s(k)` after the end of the one before.

    Over with the first success, and after `attempts` runs in all.
    """

    def __init__(self, attempts: int) -> None:
        self.attempts = need_attempts(attempts)
        self._ended = 0

    def first_s(self, now: Moment) -> float:
        return now.monotonic_s

    def next_s(self, last: Run, now: Moment) -> float | None:
        self._ended += 1
        if last.ok or self._ended >= self.attempts:
            return None
        return max(now.monotonic_s, last.ended_s + self.delay_s(self._ended))

    def describe(self) -> str:
        return f"{self._formula()}, until it succeeds, {_times(self.attempts)} at most"

    @abstractmethod
    def delay_s(self, k: int) -> float:
        """Return the k-th delay, from 1, asked for in ascending order."""

    @abstractmethod
    def _formula(self) -> str:
        """Return how the delays go on, as the beginning of a sentence."""


class Exponential(Retries):
    """`exponential`, also called `backoff`."""

    def __init__(
        self,
        base_s: float,
        *,
        multiplier: float = 2.0,
        max_s: float = WAIT_S_DEFAULT_MAX,
        attempts: int = ATTEMPTS_DEFAULT,
    ) -> None:
        """Take a base in (0, max], a multiplier in (1, 10], and at least one attempt; else raise `ModeInvalid`."""
        super().__init__(attempts)
        self._base_s = need_wait("base-delay", base_s)
        self._multiplier = need_number("multiplier", multiplier, above=1, most=GROWTH_MAX)
        self._max_s = need_at_least("max-delay", max_s, "base-delay", base_s)

    def delay_s(self, k: int) -> float:
        return growth.exponential_s(k, base_s=self._base_s, multiplier=self._multiplier, max_s=self._max_s)

    def _formula(self) -> str:
        return f"{shown_s(self._base_s)}, then {self._multiplier:g} times as long each, {shown_s(self._max_s)} at most"


class Fibonacci(Retries):
    """`fibonacci`."""

    def __init__(self, base_s: float, *, max_s: float = WAIT_S_DEFAULT_MAX, attempts: int = ATTEMPTS_DEFAULT) -> None:
        """Take a base in (0, max] and at least one attempt; else raise `ModeInvalid`."""
        super().__init__(attempts)
        self._base_s = need_wait("base-delay", base_s)
        self._max_s = need_at_least("max-delay", max_s, "base-delay", base_s)

    def delay_s(self, k: int) -> float:
        return growth.fibonacci_s(k, base_s=self._base_s, max_s=self._max_s)

    def _formula(self) -> str:
        return f"{shown_s(self._base_s)} times 1, 1, 2, 3, 5, 8 …, {shown_s(self._max_s)} at most"


class Linear(Retries):
    """`linear`."""

    def __init__(
        self, increment_s: float, *, max_s: float = WAIT_S_DEFAULT_MAX, attempts: int = ATTEMPTS_DEFAULT
    ) -> None:
        """Take an increment in (0, max] and at least one attempt; else raise `ModeInvalid`."""
        super().__init__(attempts)
        self._increment_s = need_wait("increment", increment_s)
        self._max_s = need_at_least("max-delay", max_s, "increment", increment_s)

    def delay_s(self, k: int) -> float:
        return growth.linear_s(k, increment_s=self._increment_s, max_s=self._max_s)

    def _formula(self) -> str:
        return f"{shown_s(self._increment_s)} longer each, {shown_s(self._max_s)} at most"


class Polynomial(Retries):
    """`polynomial`."""

    def __init__(
        self,
        base_s: float,
        *,
        exponent: float = 2.0,
        max_s: float = WAIT_S_DEFAULT_MAX,
        attempts: int = ATTEMPTS_DEFAULT,
    ) -> None:
        """Take a base in (0, max], an exponent in (0, 10], and at least one attempt; else raise `ModeInvalid`."""
        super().__init__(attempts)
        self._base_s = need_wait("base-delay", base_s)
        self._exponent = need_number("exponent", exponent, above=0, most=GROWTH_MAX)
        self._max_s = need_at_least("max-delay", max_s, "base-delay", base_s)

    def delay_s(self, k: int) -> float:
        return growth.polynomial_s(k, base_s=self._base_s, exponent=self._exponent, max_s=self._max_s)

    def _formula(self) -> str:
        return f"{shown_s(self._base_s)} times k^{self._exponent:g}, {shown_s(self._max_s)} at most"


class DecorrelatedJitter(Retries):
    """`decorrelated-jitter`."""

    def __init__(
        self,
        base_s: float,
        dice: Dice,
        *,
        multiplier: float = 3.0,
        max_s: float = WAIT_S_DEFAULT_MAX,
        attempts: int = ATTEMPTS_DEFAULT,
    ) -> None:
        """Take a base in (0, max], a multiplier in (1, 10], and at least one attempt; else raise `ModeInvalid`."""
        super().__init__(attempts)
        self._base_s = self._previous_s = need_wait("base-delay", base_s)
        self._multiplier = need_number("multiplier", multiplier, above=1, most=GROWTH_MAX)
        self._max_s = need_at_least("max-delay", max_s, "base-delay", base_s)
        self._dice = dice

    def delay_s(self, k: int) -> float:
        if k > 1:
            self._previous_s = growth.decorrelated_s(
                self._previous_s,
                self._dice.random(),
                base_s=self._base_s,
                multiplier=self._multiplier,
                max_s=self._max_s,
            )
        return self._previous_s

    def _formula(self) -> str:
        return (
            f"{shown_s(self._base_s)}, then anything up to {self._multiplier:g} times the one before, "
            f"{shown_s(self._max_s)} at most"
        )


class Delays(Retries):
    """`--delays`: the waits one by one, as they are written."""

    def __init__(self, delays_s: Sequence[float], *, attempts: int | None = None) -> None:
        """Take 1 to 1,000 delays, 0s allowed, and the runs in all: one more than delays unless said otherwise.

        With more attempts the last delay is used again. Raises `ModeInvalid`.
        """
        if not 1 <= len(delays_s) <= DELAYS_MAX:
            raise ModeInvalid("delays", f"needs 1 to {DELAYS_MAX} durations, such as 1s,2s,4s; it has {len(delays_s)}")
        super().__init__(len(delays_s) + 1 if attempts is None else attempts)
        self._delays_s = tuple(s if s == 0 else need_wait("delays", s) for s in delays_s)

    def delay_s(self, k: int) -> float:
        return growth.listed_s(k, self._delays_s)

    def _formula(self) -> str:
        shown = [shown_s(s) for s in self._delays_s[:8]]
        return ", ".join(shown) + (" …" if len(self._delays_s) > len(shown) else "")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
