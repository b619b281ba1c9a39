"""Every form in which a flag may be typed means the same, and what means nothing is refused with what to type."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.cli.rpr.flags import FLAGS, Flag, Kind, of
from chronos.cli.rpr.reading import read_flags
from chronos.cli.rpr.subcommands import SUBCOMMANDS, Subcommand
from chronos.cli.rpr.words import take_apart
from chronos.errors import ChronosError, Invalid


def values(line: str) -> dict[str, object]:
    found = take_apart(shlex.split(line))
    assert found.subcommand is not None
    return read_flags(found.subcommand.name, found.flags)


@pytest.mark.parametrize("form", ["--every 30s", "--every=30s", "-e 30s", "-e=30s", "-e30s"])
def test_a_value_may_be_typed_in_five_ways(form: str) -> None:
    assert values(f"i {form} -- x") == {"every": 30.0}


@pytest.mark.parametrize("form", ["--base-delay 1s", "-bd 1s", "-bd=1s", "-bd1s"])
def test_the_longest_short_name_wins(form: str) -> None:
    assert values(f"exp {form} -- x") == {"base_delay": 1.0}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("poly -exp 2 -bd 1s -- x", {"exponent": 2.0, "base_delay": 1.0}),
        ("poly -exp2.5 -md5s -a4 -- x", {"exponent": 2.5, "max_delay": 5.0, "attempts": 4}),
        ("lin -inc 2s -- x", {"increment": 2.0}),
        ("a -b 1s -mq -- x", {"base_interval": 1.0, "show_metrics": True, "quiet": True}),
        ("c -t -5 -- x", {"times": -5}),
        ("c -o -x -- x", {"output_prefix": "-x"}),
        ("c -o= -- x", {"output_prefix": ""}),
        ("c --output-prefix=a=b -- x", {"output_prefix": "a=b"}),
        ("c -t 1 -t 2 -- x", {"times": 2}),
        ("--config f.toml c -t 1 -- x", {"config": "f.toml", "times": 1}),
        ("--config=f.toml c --config g.toml -- x", {"config": "g.toml"}),
        ("d -f 1d -e 1w -- x", {"for": 86_400.0, "every": 604_800.0}),
    ],
)
def test_a_line_means_what_it_says(line: str, expected: dict[str, object]) -> None:
    assert values(line) == expected


@pytest.mark.parametrize(
    ("line", "argv"),
    [("c -t 1 -- a -- b", ("a", "--", "b")), ("c -t 1 -- -x --help", ("-x", "--help")), ("c --", ()), ("c", ())],
)
def test_what_is_behind_the_first_two_dashes_is_the_commands(line: str, argv: tuple[str, ...]) -> None:
    assert take_apart(shlex.split(line)).argv == argv


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("intervall -- x", "Did you mean `interval`?"),
        ("i --evry 1s -- x", "Did you mean `--every`?"),
        ("i --timout=1s -- x", "Did you mean `--timeout`?"),
        ("i -e", "`--every` needs a value: --every DURATION."),
        ("i --quiet=yes -- x", "`--quiet` takes no value"),
        ("i --rate 1/1s -- x", "`--rate` does nothing in `rpr interval`; it belongs to: rate-limit."),
        ("i -e 1s ls -l", "put `--` before the command: rpr interval … -- ls …"),
        ("-q i -- x", "unknown global flag `-q`; there are --help, --version and --config FILE. `-q` goes behind"),
        ("--config", "`--config` needs a value"),
        ("i -5 -- x", "unknown flag `-5`"),
        ("i -qz -- x", "unknown flag `-qz`"),
        ("c -t 1.5 -- x", "--times: `1.5` is not a whole number"),
        ("c -t 99999999999999999999 -- x", "is too large"),
        ("i -e 10 -- x", "`10` has no unit"),
        ("a --slow-threshold nan -- x", "`nan` is not a number"),
        ("i --on-busy wait -- x", "`wait` is not one of: skip, queue, restart."),
    ],
)
def test_what_means_nothing_is_refused_with_what_to_type(line: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        values(line)
    assert message in str(refused.value)


@pytest.mark.parametrize(("line", "asks"), [("-v", "version"), ("--help", "help"), ("c -t 1 -h", "help"), ("c -v", "")])
def test_the_place_of_a_flag_decides_what_it_asks(line: str, asks: str) -> None:
    assert take_apart(shlex.split(line)).asks == asks


def test_no_two_flags_of_a_mode_share_a_spelling() -> None:
    for mode in SUBCOMMANDS:
        spellings = [spelling for flag in of(mode.name) for spelling in flag.spellings]
        assert len(spellings) == len(set(spellings)), mode.name


def test_no_two_modes_share_a_name_and_every_flag_has_a_mode() -> None:
    names = [name for mode in SUBCOMMANDS for name in (mode.name, *mode.aliases)]
    assert len(names) == len(set(names))
    assert {mode for flag in FLAGS for mode in flag.modes} <= {mode.name for mode in SUBCOMMANDS}


def test_every_required_flag_is_one_of_the_modes() -> None:
    for mode in SUBCOMMANDS:
        assert set(mode.required) <= {flag.dest for flag in of(mode.name)}


@pytest.mark.parametrize("mode", SUBCOMMANDS, ids=lambda mode: mode.name)
def test_the_example_of_a_mode_can_be_typed(mode: Subcommand) -> None:
    line = shlex.split(mode.example)
    assert line[0] == "rpr"
    found = take_apart(line[1:])
    assert found.argv
    assert found.subcommand is mode
    assert read_flags(mode.name, found.flags)


@given(st.lists(st.text(max_size=12), max_size=8))
def test_whatever_is_typed_is_read_or_refused(words: list[str]) -> None:
    try:
        found = take_apart(["interval", *words])
        assert found.subcommand is not None
        read_flags(found.subcommand.name, found.flags)
    except ChronosError:
        pass


@given(
    st.sampled_from([flag for flag in FLAGS if flag.kind is Kind.TEXT and not flag.choices and flag.name != "config"]),
    st.text(min_size=1, max_size=20),
)
def test_a_text_arrives_as_it_was_typed(flag: Flag, text: str) -> None:
    name, dest = flag.name, flag.dest
    mode = flag.modes[0] if flag.modes else "interval"
    for words in ([f"--{name}", text], [f"--{name}={text}"]):
        if words[-1] == "--":
            continue
        found = take_apart([mode, *words])
        assert read_flags(mode, found.flags)[dest] == text
