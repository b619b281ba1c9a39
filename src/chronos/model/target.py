"""Targets: where an execution is delivered to."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from chronos.model.limits import BODY_BYTES_MAX, HEADERS_MAX, DurationText, HeaderName, HeaderValue, Url
from chronos.model.secret import Credential, CredentialMap


class Method(StrEnum):
    """HTTP methods a target may be called with."""

    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"
    OPTIONS = "OPTIONS"


class BasicAuth(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, tag="basic"):
    """`Authorization: Basic …`."""

    username: Annotated[str, Meta(max_length=256)]
    password: Credential


class BearerAuth(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, tag="bearer"):
    """`Authorization: Bearer …`."""

    token: Credential


class ApiKeyAuth(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, tag="api_key"):
    """A key in a header of its own."""

    api_key: Credential
    header: HeaderName = "X-API-Key"


Auth = BasicAuth | BearerAuth | ApiKeyAuth

Headers = Annotated[dict[HeaderName, HeaderValue], Meta(max_length=HEADERS_MAX, extra={"headers": True})]
StatusCode = Annotated[int, Meta(ge=100, le=599)]


class StoreResponse(StrEnum):
    """How much of the answer is kept."""

    NONE = "none"
    EXCERPT = "excerpt"
    NODE = "node"


class Completion(StrEnum):
    """When the work that a request asks for is done."""

    ANSWER = "answer"
    CALLBACK = "callback"


class HttpTarget(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, tag="http"):
    """An HTTP request.

    Attributes:
        body: May hold `{{.JobID}} {{.JobName}} {{.ExecutionID}} {{.ScheduledTime}} {{.Attempt}}`.
        success_codes: Statuses that count as success; empty means 200 to 299.
        timeout: Bounds one attempt; the job's `timeout` wins over it.
        follow_redirects: How many redirects to follow, 0 to 3.
        cancel_url: Called with POST and the execution's id when a run is to stop.
        completion: `callback` lets the target answer 202 and report the result later, at the address in
            `X-Chronos-Callback`; with `answer` every success status is a result.
        deadline: With `completion: callback`, how long the work may take, 1 s to 30 d; 1 h when left out.
        heartbeat: With `completion: callback`, the longest silence between two reports; any when left out.
        signing_secret: Signs every request as Standard Webhooks says: `whsec_…` or `whsk_…`, up to four with blanks
            in between, `;until=INSTANT` behind those that end.
    """

    url: Url
    method: Method = Method.POST
    headers: Headers = field(default_factory=dict)
    body: Annotated[str, Meta(max_length=BODY_BYTES_MAX)] = ""
    auth: Auth | None = None
    success_codes: Annotated[list[StatusCode], Meta(max_length=100)] = field(default_factory=list)
    timeout: DurationText | None = None
    tls_skip_verify: bool = False
    follow_redirects: Annotated[int, Meta(ge=0, le=3)] = 0
    pause_on_gone: bool = False
    cancel_url: Url | None = None
    signing_secret: Credential | None = None
    store_response: StoreResponse = StoreResponse.EXCERPT
    completion: Completion = Completion.ANSWER
    deadline: DurationText | None = None
    heartbeat: DurationText | None = None


class ProcessTarget(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, tag="process"):
    """A program on the node, run without a shell unless `argv` names one.

    Attributes:
        argv: The program and its arguments; templates are filled in as in an HTTP body.
        env: Added to an otherwise empty environment; every value is a credential: sealed, and shown as `***`.
        env_allow: Names passed through from the server's environment.
        directory: Working directory; a fresh empty one when absent.
        run_as: The system user to run as; needed when the server is root.
    """

    argv: Annotated[list[Annotated[str, Meta(min_length=1, max_length=8_192)]], Meta(min_length=1, max_length=256)]
    env: Annotated[CredentialMap, Meta(max_length=128)] = field(default_factory=dict)
    env_allow: Annotated[list[str], Meta(max_length=64)] = field(default_factory=list)
    directory: Annotated[str, Meta(max_length=1_024)] | None = None
    run_as: Annotated[str, Meta(max_length=64)] | None = None
    stdin: Annotated[str, Meta(max_length=BODY_BYTES_MAX)] = ""
    success_exit_codes: Annotated[list[Annotated[int, Meta(ge=0, le=255)]], Meta(max_length=32)] = field(
        default_factory=lambda: [0]
    )


Target = HttpTarget | ProcessTarget


_encode = msgspec.msgpack.Encoder().encode


def mentions(target: Target, mark: str) -> bool:
    """Whether any text in `target` contains `mark`: a hundredth of what walking it would cost."""
    return mark.encode() in _encode(target)
