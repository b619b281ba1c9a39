"""The words of a plug-in are told from those of `rpr`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.cli.rpr.plugged import pins_of
from chronos.cli.rpr.pluginwords import named, plugin_words
from chronos.cli.rpr.words import take_apart
from chronos.errors import ConfigInvalid, Invalid


def test_what_every_mode_takes_is_for_rpr_and_the_rest_for_the_plug_in() -> None:
    words = ["fibonacci", "--base-interval", "1s", "-t", "3", "--max-interval=5m", "--quiet", "--timeout", "2s"]
    words += ["--loud", "--seed=4", "--last"]
    found = plugin_words(words)
    assert found.name == "fibonacci"
    assert dict(found.options) == {"base-interval": "1s", "max-interval": "5m", "loud": "true", "last": "true"}
    assert found.rest == ("-t", "3", "--quiet", "--timeout", "2s", "--seed=4")


def test_a_value_that_begins_with_dashes_needs_the_equals_sign() -> None:
    assert plugin_words(["p", "--mark=--x", "--low", "-3"]).options == (("mark", "--x"), ("low", "-3"))


def test_a_line_with_a_plug_in_is_taken_apart_with_its_command() -> None:
    line = take_apart(["plugin", "fib", "--base", "1s", "-t", "2", "--", "date", "--base"])
    assert (line.plugin, line.options, line.flags, line.argv) == (
        "fib",
        (("base", "1s"),),
        ("--times=2",),
        ("date", "--base"),
    )


@pytest.mark.parametrize("words", [["plugin"], ["plugin", "--", "date"], ["plugin", "--base", "1s", "--", "date"]])
def test_a_plug_in_needs_a_name(words: list[str]) -> None:
    with pytest.raises(Invalid, match="needs the name of a plug-in"):
        take_apart(words)


def test_a_command_without_dashes_before_it_is_refused() -> None:
    with pytest.raises(Invalid, match="put `--` before the command"):
        take_apart(["plugin", "fib", "date"])


def test_several_plug_ins_are_named_each_with_its_options() -> None:
    assert named("") == []
    assert named("a") == [("a", {})]
    assert named("a:x=1,y=2,b,c:z=a:b") == [("a", {"x": "1", "y": "2"}), ("b", {}), ("c", {"z": "a:b"})]
    assert named("a:url=http://host/?q=1,b") == [("a", {"url": "http://host/?q=1"}), ("b", {})]


def test_pins_are_read_with_and_without_their_kind() -> None:
    pin = "0123456789abcdef" * 4
    assert pins_of(f"a={pin}, b=sha256:{pin.upper()}".replace("SHA", "sha")) == {"a": pin, "b": pin}
    assert pins_of("") == {}


@pytest.mark.parametrize("text", ["a", "a=12", "=" + "0" * 64, "a=" + "g" * 64, "a=md5:" + "0" * 64])
def test_what_pins_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid, match="pins no plug-in"):
        pins_of(text)


WORDS = st.sampled_from(["--base", "--base=1", "-t", "3", "--quiet", "--times", "--times=2", "-x", "--", "a", ""])


@given(st.lists(WORDS, max_size=8))
def test_no_word_is_lost_and_none_is_taken_twice(words: list[str]) -> None:
    found = plugin_words(["name", *words])
    spent = len(found.rest)
    for name, value in found.options:
        alone = value == "true" and f"--{name}" in words
        spent += 1 if alone or f"--{name}={value}" in words else 2
    assert spent == len(words)
    assert [word for word in found.rest if word not in words] == []
