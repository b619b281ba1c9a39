from __future__ import annotations

import pytest

from chronos.errors import ChronosError, JobNotFound, Overlap
from chronos.store.port import Result
from chronos.store.verdict import accepted, error_of


def test_an_accepted_command_is_handed_through() -> None:
    result = Result(value=1)
    assert accepted(result) is result


def test_a_refused_command_is_raised_as_the_error_its_slug_names() -> None:
    with pytest.raises(Overlap, match="busy") as caught:
        accepted(Result(error="overlap", message="busy", facts={"blocked_by": "occ_1", "message": "x"}))
    assert caught.value.facts == {"blocked_by": "occ_1"}


def test_without_a_message_the_error_has_its_own() -> None:
    assert str(error_of(Result(error="job-not-found"))) == str(JobNotFound())


def test_a_slug_from_a_newer_version_is_an_error_all_the_same() -> None:
    error = error_of(Result(error="not-invented-yet", message="what?"))
    assert type(error) is ChronosError
    assert str(error) == "what?"
