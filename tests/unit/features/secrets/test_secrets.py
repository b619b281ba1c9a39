"""References to secrets: where they are looked up, where they are put, and that they never come back."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dispatch.fakes import a_delivery

from chronos.dispatch.http.url import parse_url
from chronos.dispatch.port import Delivered, Delivery, Outcome, Refused
from chronos.dispatch.redaction import secrets_of
from chronos.dispatch.references import SecretResolver, SecretUnavailable
from chronos.features.secrets import Secrets, Settings, install
from chronos.features.secrets.sources import EnvSource, FileSource
from chronos.model.target import BasicAuth, BearerAuth, HttpTarget, ProcessTarget, Target

ENV = {"CHRONOS_SECRET_TOKEN": "t0p-secret", "CHRONOS_SECRET_ODD": 'a"b\\c/d e&f', "HOME": "/root", "EXTRA": "more"}


def secrets(folder: Path | None = None, environ: Mapping[str, str] | None = None, **settings: Any) -> Secrets:
    chosen = Settings(directory=str(folder) if folder else None, **settings)
    return Secrets({"env": EnvSource(chosen, ENV if environ is None else environ), "file": FileSource(chosen)})


def resolve(target: Target, resolver: Secrets | None = None) -> tuple[Any, frozenset[str]]:
    return asyncio.run((resolver or secrets()).resolve_target(target))


def text(value: str, resolver: Secrets | None = None) -> str:
    return asyncio.run((resolver or secrets()).resolve_text(value))[0]


def test_a_reference_is_resolved_in_every_text_of_a_target() -> None:
    here = "${secret:env:CHRONOS_SECRET_TOKEN}"
    target, values = resolve(
        HttpTarget(
            url=f"http://a.test/{here}",
            cancel_url=f"http://a.test/{here}",
            headers={"X-A": f"<{here}>"},
            body=here,
            auth=BasicAuth(username=here, password=here),
            signing_secret=here,
        )
    )
    assert "${" not in repr(target)
    assert repr(target).count("t0p-secret") == 7
    assert values == {"t0p-secret"}


def test_a_reference_is_resolved_in_a_process_too() -> None:
    here = "${secret:env:CHRONOS_SECRET_TOKEN}"
    target, _ = resolve(ProcessTarget(argv=["run", here], env={"T": here}, stdin=here))
    assert (target.argv, target.env, target.stdin) == (["run", "t0p-secret"], {"T": "t0p-secret"}, "t0p-secret")


def test_the_older_spelling_is_understood() -> None:
    assert text("${env:CHRONOS_SECRET_TOKEN}") == "t0p-secret"


@pytest.mark.parametrize("literal", ["${HOME}", "$CHRONOS_SECRET_TOKEN", "${VAR:-x}", "${}", "${secret:env:}", "$${x}"])
def test_what_is_no_reference_stays_as_it_is(literal: str) -> None:
    assert text(literal) == literal


def test_a_target_without_references_is_the_same_object() -> None:
    target = HttpTarget(url="http://a.test/", body="{{.JobID}} ${HOME}")
    assert resolve(target) == (target, frozenset())
    assert resolve(target)[0] is target


@pytest.mark.parametrize(
    "name", ["HOME", "PATH", "chronos_secret_token", " CHRONOS_SECRET_TOKEN", "CHRONOS_API_KEY", "CHRONOS_SECRET_NONE"]
)
def test_a_variable_that_is_not_let_through_or_not_set_is_refused_by_name(name: str) -> None:
    with pytest.raises(SecretUnavailable) as refused:
        text("${secret:env:" + name + "}")
    assert str(refused.value).startswith("${secret:env:" + name + "}")
    assert "/root" not in str(refused.value)


def test_a_single_variable_can_be_let_through() -> None:
    assert text("${secret:env:EXTRA}", secrets(env_names=["EXTRA"])) == "more"


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(SecretUnavailable, match="no source vault"):
        text("${secret:vault:db}")


def test_a_resolved_secret_is_not_looked_at_again() -> None:
    environ = {"CHRONOS_SECRET_A": "${secret:env:CHRONOS_SECRET_B}", "CHRONOS_SECRET_B": "deeper"}
    assert text("${secret:env:CHRONOS_SECRET_A}", secrets(environ=environ)) == "${secret:env:CHRONOS_SECRET_B}"


@pytest.mark.parametrize("value", ["", "x{{.JobID}}y"])
def test_a_secret_that_would_not_arrive_as_it_is_is_refused_without_being_shown(value: str) -> None:
    with pytest.raises(SecretUnavailable) as refused:
        text("${secret:env:CHRONOS_SECRET_A}", secrets(environ={"CHRONOS_SECRET_A": value}))
    assert "x{{" not in str(refused.value)


def test_a_secret_in_a_json_body_stays_one_string() -> None:
    for body in ('{"p": "${secret:env:CHRONOS_SECRET_ODD}"}',):
        target, _ = resolve(HttpTarget(url="http://a.test/", body=body))
        assert json.loads(target.body) == {"p": ENV["CHRONOS_SECRET_ODD"]}
    plain, _ = resolve(
        HttpTarget(
            url="http://a.test/", body="{${secret:env:CHRONOS_SECRET_ODD}", headers={"content-type": "text/plain"}
        )
    )
    assert plain.body == "{" + ENV["CHRONOS_SECRET_ODD"]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
def test_a_secret_inside_a_url_never_changes_where_it_leads(value: str) -> None:
    reference = "${secret:env:CHRONOS_SECRET_A}"
    resolver = secrets(environ={"CHRONOS_SECRET_A": value})
    for url in (f"https://a.test/{reference}/x", f"https://a.test?k={reference}", f"https://a.test/x?k={reference}"):
        target, _ = resolve(HttpTarget(url=url), resolver)
        assert parse_url(target.url).origin == "https://a.test"
        assert parse_url(target.url).target.count("?") == url.count("?")


def test_a_url_and_a_host_can_be_secrets() -> None:
    environ = {"CHRONOS_SECRET_URL": "https://hooks.test/a?b=c", "CHRONOS_SECRET_HOST": "h.test:81"}
    resolver = secrets(environ=environ)
    assert resolve(HttpTarget(url="${secret:env:CHRONOS_SECRET_URL}"), resolver)[0].url == "https://hooks.test/a?b=c"
    assert (
        resolve(HttpTarget(url="http://${secret:env:CHRONOS_SECRET_HOST}/x"), resolver)[0].url == "http://h.test:81/x"
    )


def test_a_file_is_read_without_its_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "password").write_text("p4ss\n")
    (tmp_path / "db" / "password").chmod(0o600)
    assert text("${secret:file:db/password}", secrets(tmp_path)) == "p4ss"
    assert text("${file:db/password}", secrets(tmp_path)) == "p4ss"


def test_links_are_followed_inside_the_folder_and_not_out_of_it(tmp_path: Path) -> None:
    folder, outside = tmp_path / "secrets", tmp_path / "outside"
    (folder / "v1").mkdir(parents=True)
    outside.mkdir()
    for place in (folder / "v1" / "key", outside / "key"):
        place.write_text("k3y")
        place.chmod(0o600)
    (folder / "key").symlink_to("v1/key")
    (folder / "stolen").symlink_to(outside / "key")
    (folder / "way").symlink_to(outside)
    assert text("${secret:file:key}", secrets(folder)) == "k3y"
    for name in ("stolen", "way/key"):
        with pytest.raises(SecretUnavailable, match="leads out"):
            text("${secret:file:" + name + "}", secrets(folder))


@pytest.mark.parametrize(
    "name",
    ["../outside", "a/../../b", "/etc/passwd", "..", ".", ".hidden", "a//b", "a\0b", "a b", "~root", "a/" * 9 + "b"],
)
def test_a_name_that_is_not_a_plain_path_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("no")
    (tmp_path / "in").mkdir()
    with pytest.raises(SecretUnavailable):
        text("${secret:file:" + name + "}", secrets(tmp_path / "in"))


def a_file(folder: Path, content: bytes, mode: int = 0o600) -> Secrets:
    (folder / "s").write_bytes(content)
    (folder / "s").chmod(mode)
    return secrets(folder)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SecretUnavailable, match="written by others"):
        text("${secret:file:s}", a_file(tmp_path, b"x", mode))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_s_is_refused(tmp_path: Path) -> None:
    resolver = a_file(tmp_path, b"x")
    os.chown(tmp_path / "s", 12_345, 12_345)
    with pytest.raises(SecretUnavailable, match="another user"):
        text("${secret:file:s}", resolver)


def test_large_files_binaries_folders_pipes_and_missing_files_are_refused(tmp_path: Path) -> None:
    for content, words in ((b"x" * 70_000, "larger"), (b"\xff\xfe", "UTF-8")):
        with pytest.raises(SecretUnavailable, match=words):
            text("${secret:file:s}", a_file(tmp_path, content))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("folder", "pipe", "missing"):
        with pytest.raises(SecretUnavailable):
            text("${secret:file:" + name + "}", secrets(tmp_path))


def test_files_are_off_without_a_folder() -> None:
    with pytest.raises(SecretUnavailable, match=r"secrets\.directory"):
        text("${secret:file:s}")


def deliver(target: Target) -> tuple[Outcome, list[Delivery], list[frozenset[str]]]:
    seen: list[Delivery] = []
    in_play: list[frozenset[str]] = []

    async def inner(delivery: Delivery) -> Outcome:
        seen.append(delivery)
        in_play.append(secrets_of(delivery.target))
        return Delivered()

    return asyncio.run(secrets().around(a_delivery(target=target), inner)), seen, in_play


def test_a_delivery_carries_the_secret_and_knows_what_to_redact() -> None:
    outcome, seen, in_play = deliver(HttpTarget(url="http://a.test/", body="${secret:env:CHRONOS_SECRET_TOKEN}"))
    assert outcome == Delivered()
    assert isinstance(seen[0].target, HttpTarget)
    assert seen[0].target.body == "t0p-secret"
    assert in_play == [frozenset({"t0p-secret"})]


def test_a_missing_secret_is_refused_for_good_and_nothing_is_sent() -> None:
    outcome, seen, _ = deliver(
        HttpTarget(url="http://a.test/", auth=BearerAuth(token="${secret:env:CHRONOS_SECRET_NO}"))
    )
    assert isinstance(outcome, Refused)
    assert (outcome.error_class, outcome.permanent) == ("secret", True)
    assert "${secret:env:CHRONOS_SECRET_NO}" in outcome.reason
    assert seen == []


def test_the_feature_wraps_deliveries_and_offers_its_resolver() -> None:
    class DoorKeeper:
        def __init__(self) -> None:
            self.around: list[Any] = []
            self.provided: dict[Any, Any] = {}

        def around_dispatch(self, around: Any, *, order: int = 50) -> None:
            self.around.append(around)

        def provide(self, protocol: Any, implementation: Any) -> None:
            self.provided[protocol] = implementation

    host: Any = DoorKeeper()
    install(host, Settings())
    assert len(host.around) == 1
    assert isinstance(host.provided[SecretResolver], Secrets)
