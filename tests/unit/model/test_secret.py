from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.model.job import JobSpec
from chronos.model.secret import STARS, is_reference, is_sensitive_header, map_credentials

CANARY = "canary-7f3a"
SENSITIVE = ["Authorization", "cookie", "Proxy-Authorization", "X-API-Key", "x-auth-token", "My-Secret", "db-password"]
HARMLESS = ["Accept", "Content-Type", "X-Request-Source", "User-Agent"]

canaries = st.integers(0, 10**6).map(lambda n: f"{CANARY}-{n}")
references = st.sampled_from(["${secret:env:TOKEN}", "${secret:file:tls.key}", "${env:TOKEN}"])
credentials = canaries | references
auths = st.one_of(
    st.builds(lambda p: {"type": "basic", "username": "u", "password": p}, credentials),
    st.builds(lambda t: {"type": "bearer", "token": t}, credentials),
    st.builds(lambda k: {"type": "api_key", "api_key": k}, credentials),
)
headers = st.dictionaries(st.sampled_from(SENSITIVE), credentials) | st.dictionaries(
    st.sampled_from(HARMLESS), st.sampled_from(["text/plain", "x"])
)
channels = st.one_of(
    st.builds(lambda s: {"type": "webhook", "url": "https://example.com", "secret": s}, credentials),
    st.builds(lambda u: {"type": "slack", "url": u}, credentials),
    st.just({"type": "email", "to": ["ops@example.com"]}),
)


@st.composite
def jobs(draw: st.DrawFn) -> JobSpec:
    """A job with credentials wherever a job can have one."""
    target: dict[str, Any] = {"type": "http", "url": "https://example.com/hook", "headers": draw(headers)}
    if draw(st.booleans()):
        target["auth"] = draw(auths)
    if draw(st.booleans()):
        target["signing_secret"] = draw(credentials)
    job: dict[str, Any] = {"name": "a", "schedule": "@daily", "target": target}
    if draw(st.booleans()):
        job["notify"] = {"channels": draw(st.lists(channels, min_size=1, max_size=10))}
    return msgspec.json.decode(json.dumps(job), type=JobSpec)


def text_of(job: JobSpec) -> str:
    return msgspec.json.encode(job).decode()


@given(jobs())
def test_nothing_marked_survives(job: JobSpec) -> None:
    starred = map_credentials(job, lambda _path, _text: STARS)
    assert CANARY not in text_of(starred)
    assert text_of(starred).count(STARS) == text_of(job).count(CANARY)


@given(jobs())
def test_references_and_everything_unmarked_are_left_alone(job: JobSpec) -> None:
    starred = text_of(map_credentials(job, lambda _path, _text: STARS))
    assert starred.count("${") == text_of(job).count("${")
    assert map_credentials(job, lambda _path, text: text) == job


@given(jobs())
def test_every_credential_has_a_path_of_its_own_and_is_found_again_there(job: JobSpec) -> None:
    found: dict[str, str] = {}

    def keep(path: str, text: str) -> str:
        assert path not in found
        found[path] = text
        return f"sealed@{path}"

    sealed = map_credentials(job, keep)
    assert map_credentials(sealed, lambda path, _text: found[path]) == job


def test_paths_say_where_the_credential_stands() -> None:
    job = msgspec.json.decode(
        json.dumps(
            {
                "name": "a",
                "schedule": "@daily",
                "webhook": {
                    "url": "https://example.com",
                    "headers": {"Authorization": "x", "Accept": "y"},
                    "auth": {"type": "basic", "username": "u", "password": "p"},
                },
                "notify": {"channels": [{"type": "email", "to": ["a@b"]}, {"type": "slack", "url": "z"}]},
            }
        ),
        type=JobSpec,
    )
    paths: list[str] = []
    map_credentials(job, lambda path, text: paths.append(path) or text)  # type: ignore[func-returns-value]
    assert sorted(paths) == ["notify.channels[1].url", "webhook.auth.password", "webhook.headers.authorization"]


@pytest.mark.parametrize("name", SENSITIVE)
def test_a_header_that_carries_a_credential_is_known_by_its_name(name: str) -> None:
    assert is_sensitive_header(name)
    assert is_sensitive_header(name.upper())


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_header_is_shown(name: str) -> None:
    assert not is_sensitive_header(name)


@pytest.mark.parametrize(
    "text", ["", "secret", "${secret:env:A} and more", "x${secret:env:A}", "${}", "${A}", "{{.A}}"]
)
def test_what_only_looks_like_a_reference_is_a_credential(text: str) -> None:
    assert not is_reference(text)
