"""Waits that grow like Fibonacci's numbers, and start over once the longest has passed or a run has succeeded."""

from __future__ import annotations

from typing import Annotated

import msgspec

from chronos.repeater.plugins.port import Duration
from chronos.repeater.port import Run

PLUGIN = {
    "name": "fibonacci",
    "kind": "scheduler",
    "version": "1.0.0",
    "description": "waits of 1, 1, 2, 3, 5 … base intervals, from the start again past the longest",
    "sandbox": True,
}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    base_interval: Annotated[Duration, msgspec.Meta(gt=0, description="The first wait.")]
    max_interval: Annotated[Duration, msgspec.Meta(description="Past this it starts over.")] = 300.0
    reset_on_success: Annotated[bool, msgspec.Meta(description="A run that succeeds starts it over, too.")] = False


class Scheduler:
    def __init__(self, options: Options, seed: int) -> None:
        if options.max_interval < options.base_interval:
            raise ValueError("--max-interval must not be shorter than --base-interval.")
        self._options = options
        self._factors = (1, 1)

    def first_s(self) -> float:
        return 0.0

    def next_s(self, run: Run) -> float | None:
        options = self._options
        if run.ok and options.reset_on_success:
            self._factors = (1, 1)
        this, following = self._factors
        if this * options.base_interval > options.max_interval:
            this, following = 1, 1
        self._factors = (following, this + following)
        return this * options.base_interval
