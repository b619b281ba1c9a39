"""What can be set, and what goes over the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from chronos.model.callback import Message, Output, Progress

TOKEN_CHARS_MAX = 256


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether targets may report later; `server.public_url` says where."""

    enabled: bool = True


class CallbackQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of `X-Chronos-Callback` that says which attempt this is about, and that it is no invention."""

    token: Annotated[str, Meta(min_length=1, max_length=TOKEN_CHARS_MAX)]


class CallbackBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a target reports. Nothing at all says that it is alive.

    Attributes:
        progress: How far the work is, in percent.
        message: A sentence for people; of progress the first 256 characters are kept, of a failure 1,024.
        result: The end of the work; left out while it goes on.
        output: With a result: what the answer would have held, kept like one (`store_response`).
        retry: With a failure: whether trying again can help.
    """

    progress: Progress | None = None
    message: Message = ""
    result: Literal["success", "failure"] | None = None
    output: Output = ""
    retry: bool = True


class CallbackAnswer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the execution stands.

    Attributes:
        cancelled: Stop the work: somebody has cancelled it, or a newer run replaces it. Report how it ended.
    """

    execution_id: str
    status: str
    cancelled: bool
