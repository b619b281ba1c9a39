"""Templates: five names, escaped for where they stand, and nothing else."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dispatch.fakes import a_delivery

from chronos.dispatch.template import (
    EXPANSION_BYTES_MAX,
    TemplateFailed,
    blank,
    check_template,
    fill,
    in_header,
    in_json,
    in_url,
    rfc3339,
    values_of,
)
from chronos.errors import JobInvalid

VALUES = values_of(a_delivery())

LITERAL = [
    "{{7*7}}",
    "{{JobID}}",
    "{{ .JobID | upper }}",
    "{{.JobID.__class__}}",
    "{{x.__class__}}",
    "{% for x in y %}",
    "${HOME}",
    "${secret:env:A}",
    "{{{{",
    "}}",
    "{{.}}",
    "{{.1}}",
    "{{\n.JobID}}",
    "{ {.JobID}}",
]


@pytest.mark.parametrize("text", LITERAL)
def test_what_is_not_a_name_in_braces_stays_as_it_is(text: str) -> None:
    check_template(text)
    assert fill(text, VALUES) == text


def test_every_variable_has_its_value() -> None:
    text = "{{.JobID}} {{.JobName}} {{.ExecutionID}} {{ .ScheduledTime }} {{.Attempt}}"
    check_template(text)
    assert fill(text, VALUES) == "01JABCDEFGHJKMNPQRSTVWXYZ0 nightly occ_a 2027-01-01T09:00:00Z 1"


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("{{.JobId}}", "JobID"), ("{{.Jobname}}", "JobName"), ("{{.Execution}}", "ExecutionID"), ("{{.Time}}", "Time")],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(text: str, nearest: str) -> None:
    with pytest.raises(JobInvalid, match=nearest) as refused:
        check_template(text, "target.body")
    assert refused.value.facts["field"] == "target.body"
    with pytest.raises(TemplateFailed, match=nearest):
        fill(text, VALUES)


@given(st.text(max_size=200))
def test_a_value_in_a_json_string_comes_out_as_it_went_in(value: str) -> None:
    assert json.loads(fill('["{{.JobName}}"]', {"JobName": value}, in_json)) == [value]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_a_value_in_a_url_is_one_piece_of_it(value: str) -> None:
    filled = fill("{{.JobName}}", {"JobName": value}, in_url)
    assert unquote(filled) == value
    assert not set(filled) & set("/?#&=@: \r\n\"'")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_a_value_in_a_header_never_ends_the_line(value: str) -> None:
    assert all(" " <= c <= "~" for c in fill("{{.JobName}}", {"JobName": value}, in_header))


@given(st.text(alphabet="{}. JobIDx", max_size=60))
def test_values_are_not_filled_in_again(text: str) -> None:
    assert fill("{{.JobName}}", {"JobName": "{{.JobID}}" + text, "JobID": "no"}) == "{{.JobID}}" + text


@given(st.text(alphabet="{}.JobIDAtemp \t", max_size=300))
def test_what_was_accepted_can_be_filled_in(text: str) -> None:
    try:
        check_template(text)
    except JobInvalid:
        return
    fill(text, VALUES)


def test_a_template_that_could_grow_too_much_is_refused_when_written_and_when_filled_in() -> None:
    text = "{{.JobName}}" * 2_000
    with pytest.raises(JobInvalid, match="grow"):
        check_template(text)
    with pytest.raises(TemplateFailed, match="64 KiB"):
        fill(text, {"JobName": "x" * 200})


def test_what_was_accepted_never_grows_past_the_bound() -> None:
    most = 0
    while True:
        text = "{{.JobName}}" * (most + 1)
        try:
            check_template(text)
        except JobInvalid:
            break
        most += 1
    text = "{{.JobName}}" * most
    assert len(fill(text, {"JobName": " " * 200}, in_url)) - len(text) <= EXPANSION_BYTES_MAX


def test_a_million_braces_are_literal() -> None:
    for text in ("{" * 1_000_000, "{{." * 300_000, "{{.a" * 250_000, "{{" + " " * 1_000_000, "{{.JobID" + "}" * 5):
        assert fill(text, VALUES) == text or text.endswith("}}}}}")


def test_blanks_stand_in_for_variables() -> None:
    assert blank("http://{{.JobName}}/{{7*7}}") == "http://x/{{7*7}}"


def test_times_are_rfc_3339_in_utc() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
