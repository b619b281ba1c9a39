from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.features.fake_host import a_job

from chronos.features.versions.model import Change, ChangeKind
from chronos.features.versions.rules import as_text, changes, starred
from chronos.model.job import JobSpec

SEALED = "sealed:AAAA"


def a_spec(**fields: Any) -> JobSpec:
    return a_job(**fields).spec


def test_equal_specs_have_no_difference() -> None:
    assert changes(a_spec(), a_spec()) == []
    assert as_text([], 1, 2) == "v1 → v2: nothing changed\n"


def test_a_nested_field_is_named_by_its_path() -> None:
    found = changes(a_spec(), a_spec(retry_policy={"max_attempts": 5}))
    assert found == [Change(path="retry_policy.max_attempts", kind=ChangeKind.MODIFIED, old=3, new=5)]


def test_a_tag_that_comes_is_added_and_one_that_goes_is_removed() -> None:
    found = changes(a_spec(tags={"team": "x"}), a_spec(tags={"env": "prod"}))
    assert found == [
        Change(path="tags.env", kind=ChangeKind.ADDED, new="prod"),
        Change(path="tags.team", kind=ChangeKind.REMOVED, old="x"),
    ]


def test_a_whole_part_that_comes_shows_every_field_of_it() -> None:
    found = changes(a_spec(), a_spec(notify={"on": ["failure"], "channels": [{"type": "slack", "url": SEALED}]}))
    assert [(c.path, c.kind) for c in found] == [
        ("notify.channels[0].type", ChangeKind.ADDED),
        ("notify.channels[0].url", ChangeKind.ADDED),
        ("notify.on", ChangeKind.ADDED),
    ]


def test_a_credential_that_changed_is_told_and_not_shown() -> None:
    def spec(token: str) -> JobSpec:
        return a_spec(webhook={"url": "http://h/", "auth": {"type": "bearer", "token": token}})

    found = changes(spec("sealed:one"), spec("sealed:two"))
    assert found == [Change(path="target.auth.token", kind=ChangeKind.MODIFIED, old="***", new="***")]
    assert changes(spec("sealed:one"), spec("sealed:one")) == []


def test_a_sensitive_header_is_starred_and_a_reference_is_shown() -> None:
    def spec(value: str) -> JobSpec:
        return a_spec(webhook={"url": "http://h/", "headers": {"Authorization": value}})

    found = changes(spec("Bearer abc"), spec("${secret:env:TOKEN}"))
    assert found[0].old == "***"
    assert found[0].new == "${secret:env:TOKEN}"


def test_the_text_has_a_line_for_each_change_and_cuts_long_values() -> None:
    found = changes(a_spec(tags={"a": "1"}), a_spec(schedule="0 3 * * *", description="x" * 1_000))
    lines = as_text(found, 3, 7).splitlines()
    assert lines[0] == "v3 → v7"
    assert lines[1].startswith('~ description: "" → "xxx')
    assert len(lines[1]) < 300
    assert lines[2] == '~ schedules: ["0 2 * * *"] → ["0 3 * * *"]'
    assert lines[3] == '- tags.a: "1"'


specs = st.builds(
    a_spec,
    description=st.text(max_size=5),
    tags=st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text(max_size=2), max_size=3),
    schedule=st.sampled_from(["0 2 * * *", "0 3 * * *"]),
    timeout=st.sampled_from([None, "5s", "9s"]),
    priority=st.integers(0, 9),
)


@given(specs, specs)
def test_a_difference_read_backwards_is_the_opposite_difference(old: JobSpec, new: JobSpec) -> None:
    opposite = {ChangeKind.ADDED: ChangeKind.REMOVED, ChangeKind.REMOVED: ChangeKind.ADDED}
    assert [(c.path, c.kind, c.old, c.new) for c in changes(new, old)] == [
        (c.path, opposite.get(c.kind, c.kind), c.new, c.old) for c in changes(old, new)
    ]


@given(specs, specs)
def test_there_is_no_difference_exactly_when_the_specs_are_equal(old: JobSpec, new: JobSpec) -> None:
    assert (changes(old, new) == []) == (old == new)


def test_stars_hide_every_credential_and_nothing_else() -> None:
    spec = a_spec(notify={"channels": [{"type": "webhook", "url": "http://h/", "secret": SEALED}]})
    shown = starred(spec)
    assert SEALED not in repr(shown)
    assert replace(shown, notify=spec.notify) == spec
