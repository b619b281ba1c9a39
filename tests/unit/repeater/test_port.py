from __future__ import annotations

from chronos.errors import Invalid
from chronos.repeater.port import ModeInvalid


def test_a_refusal_names_the_flag_and_says_why() -> None:
    refusal = ModeInvalid("base-delay", "must be greater than 0s, not 0s")

    assert str(refusal) == "--base-delay must be greater than 0s, not 0s"
    assert refusal.facts == {"field": "base-delay", "why": "must be greater than 0s, not 0s"}
    assert isinstance(refusal, Invalid)
