"""From a delivery to the bytes of a request. Pure: the time is an argument."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from chronos import __version__
from chronos.dispatch.http.headers import check_header, check_value
from chronos.dispatch.http.url import HttpUrl, parse_url
from chronos.dispatch.port import Delivery, to_nobody
from chronos.dispatch.template import (
    TemplateFailed,
    fill,
    has_templates,
    in_header,
    in_json,
    in_url,
    rfc3339,
    values_of,
)
from chronos.model.signing import SigningKey, signatures, signing_keys
from chronos.model.target import ApiKeyAuth, Auth, BasicAuth, BearerAuth, Completion, HttpTarget, Method

USER_AGENT = f"Chronos/{__version__}"
JSON = "application/json"
CALLBACK_HEADER = "X-Chronos-Callback"

_BODY_EXPECTED = frozenset({Method.POST, Method.PUT, Method.PATCH})


class RequestInvalid(Exception):
    """This delivery cannot be put into a request; the message says why. Trying again cannot help."""


class Request(Struct, frozen=True):
    """What goes on the wire.

    Attributes:
        chronos: Headers that say what this is; they go along wherever a redirect leads.
        user: Headers of the job's own and its credentials; they stay with the origin they are meant for.
        keys: What signs it; empty without a signing secret.
    """

    method: str
    url: HttpUrl
    chronos: dict[str, str]
    user: dict[str, str]
    body: bytes = b""
    keys: tuple[SigningKey, ...] = ()

    def headers(self) -> dict[str, str]:
        """Return every header, in the order of sending, the signature last."""
        headers = {"Host": self.url.authority, **self.chronos, **self.user}
        if self.body or self.method in _BODY_EXPECTED:
            headers["Content-Length"] = str(len(self.body))
        if self.keys:
            stamp = int(self.chronos["webhook-timestamp"])
            headers["webhook-signature"] = signatures(self.keys, self.chronos["webhook-id"], stamp, self.body)
        return headers

    def lines(self) -> list[tuple[bytes, bytes]]:
        """Return every header as it goes out."""
        return [(name.encode("ascii"), value.encode("latin-1")) for name, value in self.headers().items()]

    def wire(self) -> bytes:
        """Return head and body as they go out."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.headers().items()])
        return f"{self.method} {self.url.target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + self.body


class Prepared(Struct, frozen=True):
    """A request of which only what tells one run from another is missing: the same bytes as `build_request` makes.

    Attributes:
        before: The head up to the first header that differs.
        after: What follows the last one that differs, up to the body.
    """

    url: HttpUrl
    method: str
    before: str
    after: str
    body: bytes

    def wire(self, delivery: Delivery, now_s: float) -> bytes:
        """Return head and body as they go out."""
        key = delivery.execution_id
        head = (
            f"{self.before}webhook-id: {key}\r\nwebhook-timestamp: {int(now_s)}\r\nIdempotency-Key: {key}\r\n"
            f"X-Chronos-Job-ID: {delivery.job_id}\r\nX-Chronos-Execution-ID: {key}\r\n"
            f"X-Chronos-Attempt: {delivery.attempt}\r\nX-Chronos-Scheduled-Time: {rfc3339(delivery.scheduled_s)}\r\n"
            f"Chronos-Fencing-Token: {delivery.token}\r\n{self.after}"
        )
        return head.encode("latin-1") + self.body


def prepare(target: HttpTarget) -> Prepared | None:
    """Return what all requests to a target have in common; None when more than the run tells them apart.

    That is so with templates, signatures and callbacks.
    """
    texts = (target.url, target.body, *target.headers.values())
    if target.signing_secret or target.completion is Completion.CALLBACK or has_templates(*texts):
        return None
    try:
        request = build_request(to_nobody(target), target, 0.0)
    except RequestInvalid:
        return None  # said when it is built for a run
    lines = [f"{name}: {value}\r\n" for name, value in request.headers().items()]
    first, last = _DIFFERING[0], _DIFFERING[-1]
    names = list(request.headers())
    if tuple(names[names.index(first) : names.index(last) + 1]) != _DIFFERING:
        return None
    before = f"{request.method} {request.url.target} HTTP/1.1\r\n" + "".join(lines[: names.index(first)])
    after = "".join(lines[names.index(last) + 1 :]) + "\r\n"
    return Prepared(request.url, request.method, before, after, request.body)


def build_request(delivery: Delivery, target: HttpTarget, now_s: float) -> Request:
    """Return the request for this attempt.

    Raises:
        RequestInvalid: A template, URL, header or signing secret cannot be used as it is.
    """
    is_plain = not has_templates(target.url, target.body, *target.headers.values())
    values = {} if is_plain else values_of(delivery)
    try:
        url = parse_url(fill(target.url, values, in_url))
    except ValueError as wrong:
        raise RequestInvalid(f"target.url {wrong}") from None
    except TemplateFailed as failed:
        raise RequestInvalid(f"target.url: {failed}") from None
    user = _user_headers(target, values)
    body, content_type = _body(target, values, _header(user, "content-type"))
    if content_type and _header(user, "content-type") is None:
        user["Content-Type"] = content_type
    chronos = chronos_headers(delivery, now_s)
    if (agent := _header(user, "user-agent")) is not None:
        chronos = {name: value for name, value in chronos.items() if name != "User-Agent"} | {"User-Agent": agent}
        user = {name: value for name, value in user.items() if name.lower() != "user-agent"}
    if target.completion is Completion.CALLBACK:
        if not delivery.callback:
            raise RequestInvalid("target.completion: this server takes no callbacks; switch `callbacks` on")
        # Whoever has it can end the run: it stays with the origin, like a credential.
        user[CALLBACK_HEADER] = delivery.callback
    return Request(target.method.value, url, chronos, user, body, _keys(target))


_DIFFERING = (
    "webhook-id",
    "webhook-timestamp",
    "Idempotency-Key",
    "X-Chronos-Job-ID",
    "X-Chronos-Execution-ID",
    "X-Chronos-Attempt",
    "X-Chronos-Scheduled-Time",
    "Chronos-Fencing-Token",
)


def build_cancel(delivery: Delivery, target: HttpTarget, now_s: float) -> Request | None:
    """Return the request that asks the target to stop; None when the target has no `cancel_url`.

    The job's headers and credentials go along only where `cancel_url` has the origin of `url`.

    Raises:
        RequestInvalid: As `build_request`.
    """
    if target.cancel_url is None:
        return None
    plain = msgspec.structs.replace(target, body="", method=Method.POST, completion=Completion.ANSWER)
    called = build_request(delivery, plain, now_s)
    stop = build_request(delivery, msgspec.structs.replace(plain, url=target.cancel_url), now_s)
    body = msgspec.json.encode({"execution_id": delivery.execution_id, "attempt": delivery.attempt, "cancel": True})
    user = {name: value for name, value in stop.user.items() if name.lower() != "content-type"}
    if stop.url.origin != called.url.origin:
        user = {}
    return msgspec.structs.replace(stop, body=body, user={**user, "Content-Type": JSON})


def chronos_headers(delivery: Delivery, now_s: float) -> dict[str, str]:
    """Return the headers that say which run of which job this is."""
    return {
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "webhook-id": delivery.execution_id,
        "webhook-timestamp": str(int(now_s)),
        "Idempotency-Key": delivery.execution_id,
        "X-Chronos-Job-ID": delivery.job_id,
        "X-Chronos-Execution-ID": delivery.execution_id,
        "X-Chronos-Attempt": str(delivery.attempt),
        "X-Chronos-Scheduled-Time": rfc3339(delivery.scheduled_s),
        "Chronos-Fencing-Token": delivery.token,
    }


def auth_headers(auth: Auth | None) -> dict[str, str]:
    """Return the header that carries the credentials; none without them."""
    match auth:
        case BasicAuth(username=username, password=password):
            pair = base64.b64encode(f"{username}:{password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        case BearerAuth(token=token):
            return {"Authorization": f"Bearer {token}"}
        case ApiKeyAuth(api_key=api_key, header=header):
            return {header: api_key}
        case _:
            return {}


def is_json(content_type: str) -> bool:
    """Whether a content type means JSON."""
    essence = content_type.partition(";")[0].strip().lower()
    return essence == JSON or essence.endswith("+json")


def _user_headers(target: HttpTarget, values: Mapping[str, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, text in target.headers.items():
        try:
            headers[name] = fill(text, values, in_header).strip(" \t")
            check_header(name, headers[name])
        except (ValueError, TemplateFailed) as wrong:
            raise RequestInvalid(f"target.headers.{name} {wrong}") from None
    for name, value in auth_headers(target.auth).items():
        try:
            check_header(name, value)
        except ValueError as wrong:
            raise RequestInvalid(f"target.auth: {name} {wrong}") from None
        headers = {known: text for known, text in headers.items() if known.lower() != name.lower()}
        headers[name] = value
    return headers


def _body(target: HttpTarget, values: Mapping[str, str], content_type: str | None) -> tuple[bytes, str]:
    """Return body and content type. Without a type of the user's, it is JSON if it reads as JSON."""
    if not target.body:
        return b"", ""
    try:
        if content_type is not None:
            return fill(target.body, values, in_json if is_json(content_type) else _as_is).encode(), content_type
        filled = fill(target.body, values, in_json).encode()
        if _reads_as_json(filled):
            return filled, JSON
        return fill(target.body, values).encode(), "text/plain; charset=utf-8"
    except (TemplateFailed, UnicodeEncodeError) as failed:
        raise RequestInvalid(f"target.body: {failed}") from None


def _as_is(value: str) -> str:
    return value


def _reads_as_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return True


def _keys(target: HttpTarget) -> tuple[SigningKey, ...]:
    if not target.signing_secret:
        return ()
    try:
        return tuple(signing_keys(target.signing_secret))
    except ValueError as wrong:
        raise RequestInvalid(f"target.signing_secret {wrong}") from None


def _header(headers: Mapping[str, str], name: str) -> str | None:
    return next((value for known, value in headers.items() if known.lower() == name), None)


__all__ = ["Request", "RequestInvalid", "build_cancel", "build_request", "check_value", "is_json"]
