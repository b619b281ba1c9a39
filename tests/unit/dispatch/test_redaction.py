"""Secrets are taken out of answers, however they are spelled and wherever they are cut."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

from hypothesis import given
from hypothesis import strategies as st

from chronos.dispatch.redaction import SECRETIVE, Redactor, StreamRedactor, secrets_in_play, secrets_of
from chronos.model.secret import map_credentials
from chronos.model.target import BasicAuth, BearerAuth, HttpTarget

SECRETS = st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=40)
TEXTS = st.binary(max_size=40)


@given(SECRETS, TEXTS, TEXTS)
def test_no_usual_spelling_gets_through(secret: str, before: bytes, after: bytes) -> None:
    redact = Redactor([secret])
    raw = secret.encode()
    for form in (
        raw,
        json.dumps(secret)[1:-1].encode(),
        json.dumps(secret, ensure_ascii=False)[1:-1].encode(),
        quote(secret, safe="").encode(),
        quote_plus(secret).encode(),
        raw.hex().encode(),
        raw.hex().upper().encode(),
        base64.b64encode(raw),
        base64.urlsafe_b64encode(raw),
        base64.b64encode(raw).rstrip(b"="),
    ):
        assert form not in redact(before + form + after) or form in b"***"


@given(st.binary(min_size=9, max_size=30).map(lambda raw: raw.hex()), TEXTS, TEXTS)
def test_a_secret_inside_a_longer_base64_text_is_found_at_every_alignment(
    secret: str, before: bytes, after: bytes
) -> None:
    encoded = base64.b64encode(before + secret.encode() + after)
    redacted = Redactor([secret])(encoded)
    # What is left of the secret's own characters is at most the two it shares with its neighbours.
    assert len(redacted) <= len(encoded) - (len(secret) * 8 // 6 - 2) + 3


@given(SECRETS, st.binary(max_size=200), st.lists(st.integers(1, 50), max_size=12), st.binary(max_size=200))
def test_a_stream_in_any_pieces_never_shows_the_secret(
    secret: str, before: bytes, cuts: list[int], after: bytes
) -> None:
    data = before + secret.encode() + after
    stream = StreamRedactor(Redactor([secret]))
    shown, rest = b"", data
    for cut in cuts:
        shown += stream.feed(rest[:cut])
        rest = rest[cut:]
    shown += stream.feed(rest) + stream.finish()
    assert secret.encode() not in shown or secret in "***"


@given(SECRETS, st.integers(0, 60), st.integers(1, 40), st.integers(0, 80))
def test_a_cut_never_leaves_the_beginning_of_a_secret(secret: str, before: int, size: int, after: int) -> None:
    data = b"\0" * before + secret.encode() + b"\0" * after
    head = Redactor([secret]).head(data, size)
    assert set(head) <= set(b"\0*")
    assert len(head) <= size


def test_a_stream_without_secrets_holds_nothing_back() -> None:
    assert StreamRedactor(Redactor([])).feed(b"abc") == b"abc"


def test_a_target_s_credentials_and_what_wrappers_add_are_its_secrets() -> None:
    target = HttpTarget(
        url="http://a.test/",
        auth=BearerAuth(token="t0ken"),
        headers={"X-Api-Key": "k3y", "Authorization": "Token abc", "X-Plain": "plain"},
        signing_secret="whsec_c2VjcmV0",
    )
    with secrets_in_play({"outer"}), secrets_in_play({"inner"}):
        assert secrets_of(target) == {"t0ken", "k3y", "Token abc", "abc", "whsec_c2VjcmV0", "outer", "inner"}
    assert "outer" not in secrets_of(target)


def test_basic_credentials_are_secret_together_as_well() -> None:
    target = HttpTarget(url="http://a.test/", auth=BasicAuth(username="me", password="pass word"))
    assert "me:pass word" in secrets_of(target)


def test_nothing_is_redacted_where_there_is_no_secret() -> None:
    assert Redactor([""]).text("a***b") == "a***b"


def test_each_of_several_signing_secrets_is_kept_out() -> None:
    first = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
    second = "whsec_GBkaGxwdHh8gISIjJCUmJygpKissLS4v"
    target = HttpTarget(url="http://target.test/", signing_secret=f"{first} {second};until=2027-01-01")
    redactor = Redactor(secrets_of(target))
    for secret in (first, second):
        assert secret not in redactor.text(f"I got {secret}, thank you")


def test_every_field_of_an_http_target_that_may_hold_a_credential_is_looked_at() -> None:
    """`SECRETIVE` is a short cut past the walk through all fields, so it has to name every one the walk may change."""
    holding = {"auth": BearerAuth(token="c4nary"), "headers": {"X-Token": "c4nary"}, "signing_secret": "c4nary"}
    assert set(holding) == set(SECRETIVE)
    for name, value in holding.items():
        assert "c4nary" in secrets_of(HttpTarget(url="http://a.test/", **{name: value}))  # type: ignore[arg-type]
    changed: set[str] = set()

    def note(path: str, text: str) -> str:
        changed.add(path.partition(".")[0])
        return text + "x"

    full = HttpTarget(url="http://u:p@a.test/?token=x", body="secret", cancel_url="http://u:p@a.test/", **holding)  # type: ignore[arg-type]
    map_credentials(full, note)
    assert changed == set(SECRETIVE)


def test_what_to_look_for_is_put_together_when_there_is_something_to_look_at() -> None:
    redactor = Redactor(["correct horse battery staple"])
    assert redactor(b"") == b""
    assert "_forms" not in vars(redactor)
    assert redactor(b"a correct horse battery staple") == b"a ***"
    assert redactor.longest > len("correct horse battery staple")
