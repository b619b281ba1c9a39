"""Modes as people type them, where the rows do not ask."""

from __future__ import annotations

from tests.acceptance.rpr.typed import rpr


def test_adaptive_says_what_it_has_learned_with_jitter_too() -> None:
    done = rpr(*["adaptive", "-b", "100ms", "-m", "-t", "2", "--jitter", "20%", "--", "true"])
    assert done.code == 0
    assert [line.partition(", ")[2] for line in done.lines] == [
        "Success=67.2%, Circuit=CLOSED",
        "Success=76.0%, Circuit=CLOSED",
    ]
