"""What main and a worker say to each other: frames of msgpack, each behind its length.

    main ─▶ worker   begin · submit · recall · cancel · drain · ping · inspect · reset
    main ◀─ worker   ready · refusal · ended · recalled · drained · pong · inspected · was_reset

Whatever comes within one turn of the loop travels in one frame. Every frame of main's that has to do with time
says how far its wall clock is from boot time: a worker goes by main's clock, and by no other. The same frames say up
to when, by boot time, the node may send; None where it needs no right to.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from chronos import frames
from chronos.dispatch.breaker import BreakerState
from chronos.dispatch.executor import ExecutorSettings
from chronos.dispatch.port import Delivery, Done
from chronos.dispatch.targets import Targets
from chronos.dispatch.workers.tally import Tally
from chronos.frames import ProtocolBroken

VERSION = 2
"""Spoken by both, or they do not speak: a package that was replaced under a running server is noticed by it."""

FRAME_BYTES_MAX = 64 * 1024 * 1024
BATCH_MAX = 500
"""Deliveries or results in one frame; with bodies as large as they may be it stays below `FRAME_BYTES_MAX`."""

# main ─▶ worker


class Begin(Struct, frozen=True, array_like=True, tag=1):
    """The first frame: who you are, and what you deliver with.

    Attributes:
        handover: What the server makes of it; this room does not look inside.
    """

    version: int
    number: int
    ahead_s: float
    executor: ExecutorSettings
    handover: bytes
    until_s: float | None = None


class Submit(Struct, frozen=True, array_like=True, tag=2):
    ahead_s: float
    deliveries: list[Delivery]
    until_s: float | None = None


class Handed(Delivery, frozen=True, gc=False, array_like=True):
    """A delivery as it comes out of a frame, its target still in bytes: `known` puts in the target itself."""

    target: msgspec.Raw  # type: ignore[assignment]  # nobody has it as a Delivery before `known` has put the target in


class Taken(Struct, frozen=True, array_like=True, tag=2):
    """A `Submit`, as it is read."""

    ahead_s: float
    deliveries: list[Handed]
    until_s: float | None = None


class Recall(Struct, frozen=True, array_like=True, tag=3):
    number: int
    execution_ids: list[str]


class Cancel(Struct, frozen=True, array_like=True, tag=4):
    execution_ids: list[str]
    cancel_url: bool


class Drain(Struct, frozen=True, array_like=True, tag=5):
    seconds: float


class Ping(Struct, frozen=True, array_like=True, tag=6):
    ahead_s: float
    until_s: float | None = None


class Inspect(Struct, frozen=True, array_like=True, tag=7):
    number: int


class Reset(Struct, frozen=True, array_like=True, tag=8):
    """Close a circuit breaker."""

    number: int
    namespace: str
    host: str


# main ◀─ worker


class Ready(Struct, frozen=True, array_like=True, tag=33):
    """Deliveries may come."""

    version: int
    pid: int


class Refusal(Struct, frozen=True, array_like=True, tag=34):
    """It cannot begin, and trying again is of no use."""

    reason: str


class Ended(Struct, frozen=True, array_like=True, tag=35):
    """Attempts that came to an end, and what was counted and measured since the last such frame."""

    done: list[Done]
    running: int
    tally: Tally


class Recalled(Struct, frozen=True, array_like=True, tag=36):
    """Everything that had ended before is in an earlier frame."""

    number: int
    answers: dict[str, str]


class Drained(Struct, frozen=True, array_like=True, tag=37):
    """Everything has ended, and is in an earlier frame."""


class Pong(Struct, frozen=True, array_like=True, tag=38):
    running: int
    tally: Tally


class Inspected(Struct, frozen=True, array_like=True, tag=39):
    number: int
    breakers: list[BreakerState]


class WasReset(Struct, frozen=True, array_like=True, tag=40):
    number: int
    was_there: bool


ToWorker = Begin | Submit | Recall | Cancel | Drain | Ping | Inspect | Reset
AtWorker = Begin | Taken | Recall | Cancel | Drain | Ping | Inspect | Reset
ToMain = Ready | Refusal | Ended | Recalled | Drained | Pong | Inspected | WasReset

to_worker: msgspec.msgpack.Decoder[AtWorker] = msgspec.msgpack.Decoder(AtWorker)
to_main: msgspec.msgpack.Decoder[ToMain] = msgspec.msgpack.Decoder(ToMain)


def framed(message: ToWorker | ToMain) -> bytearray:
    """Return a message as it travels.

    Raises:
        ProtocolBroken: It is larger than the other side takes.
    """
    return frames.framed(message, FRAME_BYTES_MAX)


def known(handed: list[Handed], targets: Targets) -> Sequence[Delivery]:
    """Return deliveries with their targets, those that are the same one object.

    Raises:
        ProtocolBroken: One has no target.
    """
    try:
        for delivery in handed:
            force_setattr(delivery, "target", targets.of(bytes(delivery.target)))
    except msgspec.MsgspecError as wrong:
        raise ProtocolBroken(f"a target cannot be read: {wrong}") from None
    return handed
