"""What can be said against an HTTP target when its job is written, before anything is sent."""

from __future__ import annotations

from typing import NoReturn

from chronos.dispatch.http.headers import check_header, check_value
from chronos.dispatch.http.url import parse_url
from chronos.dispatch.references import blank_references, references_in
from chronos.dispatch.template import blank, check_template
from chronos.errors import DurationInvalid, JobInvalid
from chronos.model.secret import SEALED_PREFIX, STARS, is_reference
from chronos.model.signing import signing_keys
from chronos.model.target import ApiKeyAuth, Auth, BasicAuth, BearerAuth, Completion, HttpTarget
from chronos.timing.duration import DAY_US, SECOND_US, parse_duration

LENGTH_US_MIN = SECOND_US
LENGTH_US_MAX = 30 * DAY_US


def check_http_target(target: HttpTarget, field: str = "target") -> None:
    """Check everything about a target that does not depend on secrets, names or the network.

    Args:
        field: Where the target stands in what was written; empty when it is the whole of it.

    Raises:
        JobInvalid: With `field` naming what is wrong, like `target.headers.Host`.
    """
    at = f"{field}." if field else ""
    check_url(target.url, f"{at}url")
    if target.cancel_url is not None:
        check_url(target.cancel_url, f"{at}cancel_url")
    for name, value in target.headers.items():
        here = f"{at}headers.{name}"
        check_template(value, here)
        try:
            check_header(name, _plain(value))
        except ValueError as wrong:
            _refuse(here, wrong)
    check_template(target.body, f"{at}body")
    _check_auth(target.auth, f"{at}auth")
    _check_signing(target.signing_secret, f"{at}signing_secret")
    _check_completion(target, at)


def _check_completion(target: HttpTarget, at: str) -> None:
    lengths = {"deadline": target.deadline, "heartbeat": target.heartbeat}
    for name, text in lengths.items():
        if text is None:
            continue
        here = f"{at}{name}"
        if target.completion is not Completion.CALLBACK:
            _refuse(here, ValueError("needs `completion: callback`"))
        try:
            us = parse_duration(text)
        except DurationInvalid as error:
            error.facts["field"] = here
            raise
        if not LENGTH_US_MIN <= us <= LENGTH_US_MAX:
            _refuse(here, ValueError(f"is {text}; it must lie between 1s and 30d"))


def check_url(text: str, field: str) -> None:
    """Check a URL that may hold templates and references to secrets.

    Raises:
        JobInvalid: It is not one this server can call.
    """
    check_template(text, field)
    if is_reference(text):
        return
    try:
        parse_url(_plain(text))
    except ValueError as wrong:
        _refuse(field, wrong)


def _check_auth(auth: Auth | None, field: str) -> None:
    try:
        match auth:
            case BasicAuth(username=username):
                if ":" in username:
                    raise ValueError("has a colon in its user name; basic authentication cannot carry it")
            case BearerAuth(token=token):
                check_value(token)
            case ApiKeyAuth(header=header, api_key=api_key):
                check_header(header, api_key)
            case _:
                pass
    except ValueError as wrong:
        _refuse(field, wrong)


def _check_signing(secret: str | None, field: str) -> None:
    if not secret or secret == STARS or secret.startswith(SEALED_PREFIX) or references_in(secret):
        return
    try:
        signing_keys(secret)
    except ValueError as wrong:
        _refuse(field, wrong)


def _plain(text: str) -> str:
    if "{{" not in text and "${" not in text:
        return text
    # What stands for a secret or a variable must fit where it stands: a port is a number, a host is none.
    filled = blank(blank_references(text, "\N{BULLET}"), "\N{BULLET}")
    return filled.replace(":\N{BULLET}", ":1").replace("\N{BULLET}", "x")


def _refuse(field: str, wrong: ValueError) -> NoReturn:
    raise JobInvalid(f"{field} {wrong}", field=field) from None
