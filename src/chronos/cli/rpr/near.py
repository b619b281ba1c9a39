"""What somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean …?` with the known word that is nearest; empty when none is near."""
    from difflib import get_close_matches  # only somebody who mistyped waits for it

    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean `{near[0]}`?" if near else ""
