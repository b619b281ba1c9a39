"""One delivery over HTTP: a request, the redirects it may follow, one sending again, and what it came to."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from chronos.dispatch.egress import LookupFailed
from chronos.dispatch.http.answer import AnswerTooLarge, judge, printable
from chronos.dispatch.http.exchange import Asked, HttpClient, Read, RightOver, StaleConnection, Unanswered, Wanted
from chronos.dispatch.http.redirect import REDIRECTS, RedirectRefused, follow
from chronos.dispatch.http.request import Request, RequestInvalid, build_request
from chronos.dispatch.port import Delivered, Delivery, Lost, NoAnswer, NotSent, Outcome, Refused
from chronos.dispatch.redaction import Redactor
from chronos.dispatch.right import CUT_OFF, ISOLATED
from chronos.dispatch.underway import Told
from chronos.errors import EgressRefused
from chronos.model.target import HttpTarget
from chronos.timing.clock import Clock

REASON_CHARS_MAX = 400


class Sending(Struct, frozen=True):
    """What is sent, and what its answer is read by.

    Attributes:
        built_s: The time that stands in the request.
        delivered: What empty answers of this target come to, by status; None where that is not kept.
    """

    delivery: Delivery
    target: HttpTarget
    redactor: Redactor
    built_s: float
    delivered: dict[int, Outcome] | None = None


class Attempt:
    """Implements `UnderWay` and `Asker`. Asks at most five times: three redirects, one sending again.

    Args:
        request: What `wanted` was made of; None where `build_request` makes the same of the delivery.
    """

    __slots__ = (
        "_asked",
        "_came",
        "_client",
        "_clock",
        "_notes",
        "_request",
        "_resent",
        "_sending",
        "_told",
        "_wanted",
    )

    def __init__(
        self, client: HttpClient, clock: Clock, sending: Sending, wanted: Wanted, request: Request | None, told: Told
    ) -> None:
        self._client = client
        self._clock = clock
        self._sending = sending
        self._wanted = wanted
        self._request = request
        self._told = told
        self._came: Read | BaseException | None = None
        self._notes: list[str] = []
        self._resent = False
        self._asked: Asked | None = client.ask(wanted, self)

    # What the client tells.

    def answered(self, read: Read) -> None:
        self._asked = None  # it knows us as we know it
        self._came = read
        self._told()

    def failed(self, failure: BaseException) -> None:
        self._asked = None
        self._came = failure
        self._told()

    # What the executor asks.

    def stop(self) -> None:
        """See `UnderWay.stop`."""
        if self._asked is not None:
            self._asked.stop()

    def outcome(self) -> Outcome | None:
        """See `UnderWay.outcome`."""
        came, self._came = self._came, None
        if isinstance(came, BaseException):
            return self._unanswered(came)
        assert came is not None
        delivered = self._sending.delivered
        if not came.is_bare or delivered is None or self._notes or self._resent:
            return self._judged(came)
        # An answer without anything in it: a success comes to the same as the last time.
        if (known := delivered.get(came.status)) is not None:
            return known
        outcome = self._judged(came)
        if isinstance(outcome, Delivered):
            delivered[came.status] = outcome
        return outcome

    def _judged(self, came: Read) -> Outcome | None:
        if came.status in REDIRECTS and self._goes_on(came):
            return None
        target, redactor = self._sending.target, self._sending.redactor
        answer = came.body.answer(came.status, target.store_response, redactor)
        if self._notes:
            answer = replace(answer, notes=(*map(redactor.text, self._notes), *answer.notes))
        now_s = self._clock.time() if came.retry_after else 0.0
        return judge(target, answer, came.retry_after, now_s, resent=self._resent)

    def _unanswered(self, failure: BaseException) -> Outcome | None:
        """Return what a request without an answer came to; None when it is sent again."""
        if isinstance(failure, RightOver):
            return Lost(CUT_OFF) if self._resent or self._notes else NotSent(ISOLATED)
        if isinstance(failure, StaleConnection) and not self._resent:
            self._resent = True
            self._ask(self._wanted)
            return None
        return failed(failure, self._wanted, self._sending.redactor, resent=self._resent)

    def _goes_on(self, read: Read) -> bool:
        """Follow a redirect, noting it; returns whether there was one to follow."""
        if len(self._notes) >= self._sending.target.follow_redirects or not read.location:
            return False
        request = self._request or build_request(self._sending.delivery, self._sending.target, self._sending.built_s)
        try:
            after = follow(request, read.status, read.location)
        except RedirectRefused as refused:
            self._notes.append(f"redirect not followed: {refused}")
            return False
        self._notes.append(f"redirected by {read.status} to {after.url.origin}")
        self._request = after
        self._ask(wanted(after, self._sending.target))
        return True

    def _ask(self, wanted: Wanted) -> None:
        # What goes on although its node is cut off, goes on to its end.
        self._wanted = replace(wanted, is_fresh=self._resent, needs_right=not self._sending.delivery.goes_on)
        self._asked = self._client.ask(self._wanted, self)


class Unsendable:
    """Implements `UnderWay` for a delivery of which no request can be made: it has ended as it begins."""

    def __init__(self, invalid: RequestInvalid, redactor: Redactor, told: Told) -> None:
        self._refused = Refused(redactor.text(str(invalid)), "request", permanent=True)
        told()

    def stop(self) -> None:
        """Nothing is open."""

    def outcome(self) -> Outcome:
        """See `UnderWay.outcome`."""
        return self._refused


def wanted(request: Request, target: HttpTarget) -> Wanted:
    """Return a request as a client takes it."""
    return Wanted(request.url, request.method, request.wire(), not target.tls_skip_verify)


def failed(failure: BaseException, wanted: Wanted, redactor: Redactor, *, resent: bool) -> Outcome:
    """Return what a request without an answer came to. What the outside world does not do is raised again."""
    where = wanted.url.authority
    match failure:
        case EgressRefused():
            return Refused(redactor.text(str(failure)), "egress", permanent=True, resent=resent)
        case AnswerTooLarge():
            return Refused(f"{where}: {failure}", "too_large", permanent=True, resent=resent)
        case Unanswered() | LookupFailed():
            error_class = failure.error_class if isinstance(failure, Unanswered) else "dns"
            # Some reasons quote what came in, which is as long as the target likes.
            told = printable(redactor.text(f"{where}: {failure}").encode())[:REASON_CHARS_MAX]
            return NoAnswer(told, error_class, resent=resent)
        case _:
            raise failure
