"""Options arrive in their types; what is unknown, missing or of another type is refused in one line."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from chronos.repeater.plugins.options import converted, described
from chronos.repeater.plugins.port import Duration, PluginInvalid


class Options(msgspec.Struct, forbid_unknown_fields=True):
    base_wait: Annotated[Duration, msgspec.Meta(gt=0, description="The first wait.")]
    tries: Annotated[int, msgspec.Meta(ge=1, le=9)] = 3
    loud: bool = False
    share: float = 0.5
    colour: Literal["red", "blue"] = "red"
    longest: Duration = 90.0
    note: str = ""


def test_texts_become_what_the_types_say() -> None:
    typed = {"base-wait": "1m30s", "tries": "4", "loud": "true", "share": "0.25", "colour": "blue", "note": "7"}
    assert converted(Options, typed, "p") == Options(90.0, 4, True, 0.25, "blue", 90.0, "7")


def test_values_of_a_file_are_taken_too_and_a_name_may_be_written_with_underscores() -> None:
    assert converted(Options, {"base_wait": "2s", "tries": 5, "loud": True}, "p") == Options(2.0, 5, True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "plug-in `p` needs --base-wait (duration)."),
        ({"base-wait": "1s", "trise": "3"}, "plug-in `p` has no option --trise. Did you mean --tries?"),
        ({"base-wait": "1s", "xyzzy": "3"}, "no option --xyzzy. It has: --base-wait, --tries"),
        ({"base-wait": "soon"}, "plug-in `p`: --base-wait: "),
        ({"base-wait": "0s"}, "`base_wait`"),
        ({"base-wait": "1s", "tries": "many"}, "`tries`"),
        ({"base-wait": "1s", "tries": "10"}, "`int` <= 9"),
        ({"base-wait": "1s", "loud": "maybe"}, "`loud`"),
        ({"base-wait": "1s", "colour": "green"}, "'green'"),
        ({"base-wait": ["1s"]}, "--base-wait"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginInvalid) as refused:
        converted(Options, given, "p")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_plug_in_without_options_says_so() -> None:
    class Nothing(msgspec.Struct):
        pass

    with pytest.raises(PluginInvalid, match="It takes none"):
        converted(Nothing, {"a": "1"}, "p")


def test_options_are_described_as_a_person_writes_them() -> None:
    assert [field[:3] for field in described(Options)] == [
        ("base-wait", "duration", None),
        ("tries", "int", "3"),
        ("loud", "bool", "false"),
        ("share", "float", "0.5"),
        ("colour", "blue|red", "red"),
        ("longest", "duration", "1m30s"),
        ("note", "str", ""),
    ]
    assert described(Options)[0].description == "The first wait."
