"""Exit codes, and the one line on stderr that goes with them."""

from __future__ import annotations

from chronos.errors import (
    ChronosError,
    Conflict,
    Denied,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)

OK = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130

CODES: dict[type[ChronosError], int] = {
    Invalid: 2,
    Unauthenticated: 3,
    Denied: 3,
    NotFound: 4,
    Conflict: 5,
    Unavailable: 6,
}

MEANINGS = {
    0: "It was done.",
    1: "The execution waited for did not succeed, the server failed, or the output cannot be written.",
    2: "The input is wrong; nothing was changed.",
    3: "The server does not know you, or you may not do this.",
    4: "There is no such thing.",
    5: "It conflicts with what is there, or what is there has changed meanwhile.",
    6: "The server cannot be reached or cannot answer now; the same command may succeed later.",
    130: "Interrupted.",
}


def code_of(error: ChronosError) -> int:
    """Return the exit code of an error's family."""
    return next((code for family, code in CODES.items() if isinstance(error, family)), FAILED)


def line_of(error: ChronosError) -> str:
    """Return the error as one line: what is wrong, where, and what may be tried."""
    text = " ".join(str(error).split())
    field = error.facts.get("field")
    if isinstance(field, str) and field and field not in text:
        text = f"{field}: {text}"
    if isinstance(error, Unauthenticated):
        text += " Set CHRONOS_API_KEY, or give --api-key-file FILE, or on the server's own machine --data-dir DIR."
    return text
