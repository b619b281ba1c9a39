"""What a target reports of work that goes on after its answer, and what it is told in return."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

MESSAGE_CHARS_MAX = 4_096
OUTPUT_CHARS_MAX = 64 * 1024

Progress = Annotated[int, Meta(ge=0, le=100)]
Message = Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)]
Output = Annotated[str, Meta(max_length=OUTPUT_CHARS_MAX)]


class Heard(Struct, frozen=True, kw_only=True):
    """One report on one attempt.

    Attributes:
        progress: 0 to 100; -1 when it does not say.
        success: What the work came to; None while it goes on.
        retry: Whether a failure may be tried again.
    """

    execution_id: str
    attempt: int
    progress: int = -1
    message: str = ""
    success: bool | None = None
    output: str = ""
    retry: bool = True


class Standing(Struct, frozen=True, kw_only=True):
    """How the execution stands, for whoever works on it.

    Attributes:
        status: As the API says it: `running`, `retrying`, `success` …
        cancelled: The work is to stop: nobody wants its result any more.
    """

    execution_id: str
    status: str
    cancelled: bool = False
