"""The blocking client: what a script and `chronosctl` use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from threading import Event
from types import TracebackType
from typing import Any, TypeVar

import httpx2

from chronos.client import operations as ops
from chronos.client.answers import ExecutionAnswer, JobAnswer, SchedulePreview, Whoami
from chronos.client.exchange import (
    Caller,
    Lost,
    Patience,
    Received,
    Result,
    Send,
    Step,
    decoded,
    exchange,
    verdict,
)
from chronos.client.operation import Operation
from chronos.client.operations import Document, JobLike
from chronos.client.problems import UnknownAnswer
from chronos.client.wire import (
    STREAM_LOSSES_MAX,
    StreamEvent,
    check_stream,
    event_of,
    options_of,
    pieces_args,
    reason_of,
    received,
    request_args,
    stream_args,
)
from chronos.errors import Unavailable
from chronos.timing.clock import Chance, Clock, SystemChance, SystemClock

T = TypeVar("T")


def _sleep(seconds: float) -> None:
    Event().wait(seconds)


class Client:
    """Speaks with one Chronos server; close it, or use it in `with`. Not for several threads at once.

    Every method raises the error classes of `chronos.errors`: what the server refused, as the class it
    was raised as there, and `Unavailable` when nobody answered within `patience`.

    Args:
        server: Like `http://127.0.0.1:8080`.
        api_key: Sent as a bearer token.
        namespace: The namespace to work in; None leaves it to the server.
        ca_file: Certificates to trust instead of the system's.
        on_stale: Called with a sentence when a read was answered by the node alone.
    """

    def __init__(
        self,
        server: str = "http://127.0.0.1:8080",
        *,
        api_key: str | None = None,
        namespace: str | None = None,
        ca_file: str | None = None,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        on_stale: Callable[[str], None] | None = None,
        transport: httpx2.BaseTransport | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
        sleep: Callable[[float], None] = _sleep,
    ) -> None:
        self._caller = Caller(server, api_key, namespace, patience)
        self._clock: Clock = clock or SystemClock()
        self._chance: Chance = chance or SystemChance()
        self._sleep = sleep
        self._on_stale = on_stale
        self._http = httpx2.Client(transport=transport, **options_of(server, ca_file))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Closing twice is no error."""
        self._http.close()

    # -- carrying requests

    def receive(self, operation: Operation[Any]) -> Received:
        """Carry an operation through and return its successful answer as it came."""
        steps = exchange(operation, self._caller, self._clock, self._chance)
        result: Result = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                return self._noticed(end.value)
            result = self._take(step)

    def call(self, operation: Operation[T]) -> T:
        """Return the answer as the operation's type."""
        return decoded(self.receive(operation), operation.returns, self._caller.server)

    def fetch(self, operation: Operation[Any]) -> Any:
        """Return the answer's JSON as plain dictionaries and lists, nothing left out."""
        return decoded(self.receive(operation), object, self._caller.server)

    def _take(self, step: Step) -> Result:
        if not isinstance(step, Send):
            self._sleep(step.seconds)
            return None
        try:
            return received(self._http.request(**request_args(step)))
        except httpx2.RequestError as exc:
            return Lost(reason_of(exc))

    def _noticed(self, answer: Received) -> Received:
        if answer.stale and self._on_stale:
            index = answer.headers.get("chronos-applied-index", "unknown")
            self._on_stale(f"The cluster cannot confirm this; one node's view, as of log index {index}.")
        return answer

    def stream(self, operation: Operation[Any], *, after: str = "", reconnect: bool = True) -> Iterator[StreamEvent]:
        """Yield server-sent events, going on behind the last one when the connection is lost.

        Ends when the server ends a stream that is not to be reconnected.

        Raises:
            Unavailable: The connection was lost `STREAM_LOSSES_MAX` times with nothing new in between.
        """
        last_id, losses = after, 0
        while True:
            try:
                for event in self._stream_once(operation, last_id):
                    last_id, losses = event.id or last_id, 0
                    yield event
                reason = "the stream ended"
                if not reconnect:
                    return
            except UnknownAnswer:
                raise
            except (httpx2.RequestError, Unavailable) as exc:
                reason = reason_of(exc) if isinstance(exc, httpx2.RequestError) else str(exc)
            losses += 1
            if losses > STREAM_LOSSES_MAX:
                raise Unavailable(f"The stream of {self._caller.server} is lost: {reason}.")
            self._sleep(min(5.0, 0.2 * 2**losses))

    def _stream_once(self, operation: Operation[Any], last_id: str) -> Iterator[StreamEvent]:
        args = stream_args(operation.path, operation.params, self._caller, last_id)
        with self._http.stream(**args) as response:
            if not response.is_success:
                response.read()
                verdict(received(response), self._caller.server)
            check_stream(response, self._caller.server)
            for sse in httpx2.EventSource(response):
                yield event_of(sse)

    def pieces(self, operation: Operation[bytes]) -> Iterator[bytes]:
        """Yield the bytes of an answer as they come, once; a lost connection is not taken up again.

        Raises:
            Unavailable: Nobody answered, or the connection was lost on the way.
        """
        try:
            with self._http.stream(**pieces_args(operation, self._caller)) as response:
                if not response.is_success:
                    response.read()
                    verdict(received(response), self._caller.server)
                yield from response.iter_raw()
        except httpx2.RequestError as exc:
            raise Unavailable(f"{self._caller.server} cannot be reached: {reason_of(exc)}.") from exc

    # -- jobs

    def iter_jobs(
        self,
        *,
        enabled: bool | None = None,
        text: str | None = None,
        tags: Mapping[str, str] | None = None,
        limit: int = ops.PAGE_MAX,
    ) -> Iterator[JobAnswer]:
        """Yield every job that matches, fetching `limit` at a time."""
        cursor: str | None = None
        while True:
            page = self.call(ops.jobs(enabled=enabled, text=text, tags=tags, cursor=cursor, limit=limit))
            yield from page.jobs
            if not page.next_cursor or page.next_cursor == cursor:
                return
            cursor = page.next_cursor

    def get_job(self, ref: str) -> JobAnswer:
        """Return a job by name or id."""
        return self.call(ops.job(ref))

    def create_job(self, spec: JobLike) -> JobAnswer:
        """Create a job; raises `NameTaken` when there is one of that name."""
        return self.call(ops.create_job(spec))

    def replace_job(self, ref: str, spec: JobLike, *, revision: int) -> JobAnswer:
        """Put `spec` in the place of the job at `revision`; raises `VersionConflict` when it has moved on."""
        return self.call(ops.replace_job(ref, spec, revision=revision))

    def patch_job(self, ref: str, patch: Mapping[str, Any], *, revision: int) -> JobAnswer:
        """Change the fields in `patch` (JSON merge patch); raises `VersionConflict` when the job has moved on."""
        return self.call(ops.patch_job(ref, patch, revision=revision))

    def delete_job(self, ref: str, *, revision: int | None = None) -> Document:
        """Delete a job."""
        return self.call(ops.delete_job(ref, revision=revision))

    def trigger_job(self, ref: str, *, wait: str | None = None, force: bool = False) -> ExecutionAnswer:
        """Run a job now; with `wait` (`30s`) return when it has ended, or after that long.

        Raises:
            Overlap: It runs already and its policy forbids a second run; `force` starts one all the same.
        """
        return self.call(ops.trigger_job(ref, wait=wait, force=force))

    def enable_job(self, ref: str) -> JobAnswer:
        """Let a disabled job fire again, from its next instant on."""
        return self.call(ops.enable_job(ref))

    def disable_job(self, ref: str) -> JobAnswer:
        """Stop a job from firing."""
        return self.call(ops.disable_job(ref))

    def pause_job(self, ref: str, *, reason: str = "", until: datetime | None = None) -> JobAnswer:
        """Stop a job from firing, saying why and until when."""
        return self.call(ops.pause_job(ref, reason=reason, until=until))

    def resume_job(self, ref: str) -> JobAnswer:
        """Let a paused job fire again, from its next instant on."""
        return self.call(ops.resume_job(ref))

    def backfill_job(self, ref: str, *, since: datetime, until: datetime) -> Document:
        """Run the instants of a past range."""
        return self.call(ops.backfill_job(ref, since=since, until=until))

    def rollback_job(self, ref: str, number: int, *, revision: int | None = None) -> Document:
        """Make an old version the current one."""
        return self.call(ops.rollback_job(ref, number, revision=revision))

    # -- executions

    def iter_executions(
        self,
        *,
        job: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> Iterator[ExecutionAnswer]:
        """Yield every execution that matches, newest first, fetching `limit` at a time."""
        cursor: str | None = None
        while True:
            page = self.call(
                ops.executions(job=job, status=status, since=since, until=until, cursor=cursor, limit=limit)
            )
            yield from page.executions
            if not page.next_cursor or page.next_cursor == cursor:
                return
            cursor = page.next_cursor

    def get_execution(self, ref: str) -> ExecutionAnswer:
        """Return an execution with its attempts."""
        return self.call(ops.execution(ref))

    def cancel_execution(self, ref: str, *, reason: str = "") -> ExecutionAnswer:
        """Stop an execution."""
        return self.call(ops.cancel_execution(ref, reason=reason))

    def replay_execution(self, ref: str) -> ExecutionAnswer:
        """Run the job of an execution again, as a new one."""
        return self.call(ops.replay_execution(ref))

    def redrive_execution(self, ref: str) -> ExecutionAnswer:
        """Give a dead-lettered execution another series of attempts under its own id."""
        return self.call(ops.redrive_execution(ref))

    def watch_executions(self, *, job: str | None = None, after: str = "") -> Iterator[StreamEvent]:
        """Yield what happens to executions from now on, or behind the event `after`; of one job, or of all."""
        return self.stream(ops.execution_stream(job=job), after=after)

    # -- the rest

    def preview_schedule(self, schedule: str, *, timezone: str = "UTC", count: int = 5) -> SchedulePreview:
        """Return what a schedule means: in words, its next runs, what clock changes do to it."""
        return self.call(ops.preview_schedule(schedule, timezone=timezone, count=count))

    def cluster_status(self) -> Document:
        """Return how the cluster is."""
        return self.call(ops.cluster_status())

    def whoami(self) -> Whoami:
        """Return whom the server takes this client for."""
        return self.call(ops.whoami())
