"""What members say to each other. Fields are only appended, with defaults: a cluster is upgraded one node at a time."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from chronos import errors

VERSION, OLDEST = 1, 1
"""What this release speaks, and the oldest that it still understands."""

FRAME_BYTES_MAX = 16 << 20
GREETING_BYTES_MAX = 4_096
"""Before somebody has said who it is, a frame may be so large."""

NO_MEMBER = "is no other member of this cluster"
"""What a listener says to whom it does not know; a node that has yet to join looks for it."""

Q = TypeVar("Q")
A = TypeVar("A")


class Hello(Struct, frozen=True, array_like=True, tag=1):
    """The first frame of each side."""

    newest: int
    oldest: int
    node: str
    release: str = ""


class Goodbye(Struct, frozen=True, array_like=True, tag=2):
    """The last frame: why nothing more is said."""

    reason: str


class Ask(Struct, frozen=True, array_like=True, tag=3):
    """A question.

    Attributes:
        within_ms: How much longer the answer is waited for.
    """

    number: int
    call: str
    within_ms: int
    body: msgspec.Raw


class Answer(Struct, frozen=True, array_like=True, tag=4):
    number: int
    body: msgspec.Raw


class Refused(Struct, frozen=True, array_like=True, tag=5):
    """No answer, but an error.

    Attributes:
        kinds: Its slug, and those of its families from the narrowest on: an older release knows one of them.
    """

    number: int
    kinds: list[str]
    message: str
    facts: dict[str, Any]


class Forget(Struct, frozen=True, array_like=True, tag=6):
    """Nobody waits for that answer any more."""

    number: int


class Ping(Struct, frozen=True, array_like=True, tag=7):
    """Are you there?"""


class Pong(Struct, frozen=True, array_like=True, tag=8):
    """I am."""


ToListener = Hello | Ask | Forget | Ping
ToCaller = Hello | Goodbye | Answer | Refused | Pong

to_listener: msgspec.msgpack.Decoder[ToListener] = msgspec.msgpack.Decoder(ToListener)
to_caller: msgspec.msgpack.Decoder[ToCaller] = msgspec.msgpack.Decoder(ToCaller)

_body = msgspec.msgpack.Encoder()


class CallUnknown(errors.Unavailable):
    """The other node does not know this call; it is of another release."""


class Call(Generic[Q, A]):
    """One kind of question: its name, what is asked and what is answered, and how long that is waited for.

    Args:
        question: A type that msgspec reads; `answer` likewise.
        within_s: When the caller says nothing else.
    """

    def __init__(self, name: str, question: type[Q], answer: type[A], *, within_s: float) -> None:
        self.name = name
        self.within_s = within_s
        self._question: msgspec.msgpack.Decoder[Q] = msgspec.msgpack.Decoder(question)
        self._answer: msgspec.msgpack.Decoder[A] = msgspec.msgpack.Decoder(answer)

    def read_question(self, body: msgspec.Raw) -> Q:
        """Return the question in a frame. Raises `msgspec.MsgspecError`."""
        return self._question.decode(body)

    def read_answer(self, body: msgspec.Raw) -> A:
        """Return the answer in a frame. Raises `msgspec.MsgspecError`."""
        return self._answer.decode(body)


def packed(value: object) -> msgspec.Raw:
    """Return a question or an answer as it lies in a frame."""
    return msgspec.Raw(_body.encode(value))


def agreed(theirs: Hello) -> int | None:
    """Return the version that both speak; None when there is none."""
    version = min(theirs.newest, VERSION)
    return version if version >= max(theirs.oldest, OLDEST) else None


def refusal(number: int, error: errors.ChronosError) -> Refused:
    """Return an error as it travels: its slug and its facts stay what they are."""
    families = [kind for kind in type(error).__mro__ if issubclass(kind, errors.ChronosError)]
    facts = {name: _plain(fact) for name, fact in error.facts.items()}
    return Refused(number, [kind.slug for kind in families], str(error), facts)


def error_in(refused: Refused) -> errors.ChronosError:
    """Return the error that the other node has raised, as the narrowest kind known here."""
    kinds = (errors.kind_of(slug) for slug in refused.kinds)
    error = next((kind for kind in kinds if kind is not None), errors.ChronosError)(refused.message)
    error.facts = dict(refused.facts)
    return error


def _plain(fact: object) -> Any:
    try:
        return msgspec.to_builtins(fact, builtin_types=(bytes,), enc_hook=str)
    except (TypeError, ValueError):
        return str(fact)
