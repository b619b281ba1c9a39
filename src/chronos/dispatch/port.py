"""What dispatch is asked (`Delivery`), what it answers (`Outcome`), and who answers (`Dispatcher`).

Whatever the outside world does is an `Outcome`, a value. An exception out of a dispatcher is a bug in Chronos.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from chronos.model.execution import Waited
from chronos.model.target import Target


class Delivery(Struct, frozen=True, gc=False, array_like=True):
    """One attempt, ready to leave: everything a dispatcher needs and nothing it has to look up.

    Attributes:
        attempt: 1, 2, 3 … inside the execution.
        token: Fencing token `<restore_epoch>.<term>.<index>`.
        timeout_us: One deadline for the whole attempt, from the first look-up to the last byte.
        not_before_us: Wall time (microseconds since the epoch) before which no byte leaves.
        due_us: When it was to leave, by plan; never after `not_before_us`. 0 where nobody planned it.
        callback: The address at which the target may report on this attempt; empty where nobody listens.
        cancel_grace_us: How long a process gets between SIGTERM and SIGKILL.
        goes_on: It is not stopped when this node is cut off from the others.
    """

    execution_id: str
    job_id: str
    job_name: str
    namespace: str
    attempt: int
    token: str
    scheduled_s: int
    target: Target
    timeout_us: int
    not_before_us: int = 0
    priority: int = 5
    cancel_grace_us: int = 10_000_000
    series: int = 0
    due_us: int = 0
    callback: str = ""
    goes_on: bool = False


def to_nobody(target: Target) -> Delivery:
    """Return a delivery of no execution, for what depends on its target alone."""
    return Delivery("", "", "", "", 1, "", 0, target, 0)


class Answer(Struct, frozen=True, gc=False, array_like=True):
    """What came back, already bounded and redacted.

    Attributes:
        status_code: HTTP status or exit code; None when there is no such thing.
        body_bytes: How much of the answer was read.
        excerpt: Its beginning, redacted, at most 1 KiB.
        body: What `store_response: node` keeps, redacted, at most 64 KiB; empty otherwise.
    """

    status_code: int | None = None
    body_bytes: int = 0
    sha256: str = ""
    excerpt: str = ""
    body: bytes = b""
    notes: tuple[str, ...] = ()


class Delivered(Struct, frozen=True, gc=False, array_like=True, tag="delivered"):
    """The target said yes."""

    answer: Answer = Answer()
    resent: bool = False


class Accepted(Struct, frozen=True, gc=False, array_like=True, tag="accepted"):
    """The target has taken the work on and will report; until then the attempt runs, whoever sent it.

    Attributes:
        deadline_us: How long the work may take, from the attempt's start.
        heartbeat_us: The longest silence between two reports; 0 for any.
    """

    answer: Answer = Answer()
    deadline_us: int = 0
    heartbeat_us: int = 0
    resent: bool = False


class Refused(Struct, frozen=True, gc=False, array_like=True, tag="refused"):
    """The answer was no: from the target, or from one of our own guards before a byte left.

    Attributes:
        reason: A sentence for a person.
        error_class: A stable word: `http_status`, `egress`, `template`, `secret`, `too_large`, `exit_code` …
        permanent: True when asking again cannot help.
        retry_after_s: The target's wish, as a floor for the next attempt.
        gone: The target says it will not come back (410).
    """

    reason: str
    error_class: str
    answer: Answer = Answer()
    permanent: bool = False
    retry_after_s: float | None = None
    gone: bool = False
    resent: bool = False


class NoAnswer(Struct, frozen=True, gc=False, array_like=True, tag="no_answer"):
    """Silence. The target may or may not have run the work.

    Attributes:
        error_class: `connect`, `tls`, `dns`, `timeout`, `reset`, `protocol` …
    """

    reason: str
    error_class: str
    answer: Answer = Answer()
    resent: bool = False


class NotSent(Struct, frozen=True, gc=False, array_like=True, tag="not_sent"):
    """No byte left and none will; the attempt counts for nothing.

    Attributes:
        reason: `recalled`, `breaker`, `host_cap`, `capacity`, `worker` (it died before its time came), `drain`,
            `isolated` (this node was cut off from the others).
        retry_after_s: When it makes sense to ask again.
    """

    reason: str
    retry_after_s: float = 0.0


class Cancelled(Struct, frozen=True, gc=False, array_like=True, tag="cancelled"):
    """The attempt was stopped on request after it had begun."""

    answer: Answer = Answer()


class Lost(Struct, frozen=True, gc=False, array_like=True, tag="lost"):
    """We stopped looking before the answer came (drain, a lost worker). Nobody can say what became of it."""

    reason: str


Outcome = Delivered | Accepted | Refused | NoAnswer | NotSent | Cancelled | Lost


class Dispatcher(Protocol):
    """Delivers one kind of target."""

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Deliver, and say what became of it.

        May be asked again for the same execution; `execution_id` travels as the idempotency key. The
        deadline is the caller's: it cancels, and the dispatcher lets cancellation through after it has
        closed what it opened (a process gets its grace first).
        """
        ...

    async def aclose(self) -> None:
        """Close pools and children. May be called twice."""
        ...


class Done(Struct, frozen=True, gc=False, array_like=True):
    """An attempt that came to an end, with its times in microseconds since the epoch."""

    execution_id: str
    attempt: int
    outcome: Outcome
    started_at_us: int
    ended_at_us: int
    waited: Waited = Waited()


class Executor(Protocol):
    """Runs attempts: holds each until its time, sends it, reports what became of it.

    Two implementations: in this process, and worker processes behind a socket.

    On a member of a cluster, nothing begins when its right to send is over: what is held then is reported as
    `NotSent("isolated")`, and what runs is stopped and reported as `Lost`, unless its delivery `goes_on`.
    """

    def submit(self, deliveries: list[Delivery]) -> None:
        """Take over `deliveries`. Each is reported exactly once through the `on_done` given at construction."""
        ...

    async def recall(self, execution_ids: list[str]) -> dict[str, str]:
        """Return for each id `dropped` (no byte left, and none will), `sent`, or `unknown` (never had it).

        A dropped attempt is not reported again. Of an execution that was `sent`, a later attempt that was still
        held is given up, too, and reported as `NotSent("recalled")`.
        """
        ...

    async def cancel(self, execution_ids: list[str], *, cancel_url: bool = True) -> None:
        """Stop what runs under these ids; each is then reported as `Cancelled` (or as what it came to first)."""
        ...

    def in_flight(self) -> int:
        """How many attempts are held or running."""
        ...

    async def drain(self, seconds: float) -> None:
        """Take nothing new, let what runs finish for `seconds`, report the rest as `Lost("drain")`."""
        ...


OnDone = Callable[[list[Done]], None]
Deliver = Callable[[Delivery], Awaitable[Outcome]]
AroundDispatch = Callable[[Delivery, Deliver], Awaitable[Outcome]]
"""Wraps every delivery: secrets, signing, tracing, chaos. Calls the inner one exactly once, or answers itself."""


class Around(Struct, frozen=True):
    """An `AroundDispatch` that says which deliveries it has anything to do with; the others pass it by.

    Attributes:
        concerns: Asked with the delivery as the wrappers outside of it have made it; must return at once.
        by_target: It looks at nothing but the target, and says the same of the same target whenever it is asked:
            then it need not be asked for every delivery.
    """

    wrap: AroundDispatch
    concerns: Callable[[Delivery], bool]
    by_target: bool = False

    def __call__(self, delivery: Delivery, deliver: Deliver) -> Awaitable[Outcome]:
        return self.wrap(delivery, deliver)
