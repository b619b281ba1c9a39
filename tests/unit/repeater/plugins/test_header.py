"""What a plug-in says about itself is read without running any of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.repeater.plugins.written import EXAMPLES, scheduler, written

from chronos.repeater.plugins.header import read_header
from chronos.repeater.plugins.port import Kind, PluginInvalid


def test_the_header_is_read_and_nothing_is_run() -> None:
    text = "raise SystemExit('it was run')\n" + written("pass", kind="output", more='"sandbox": True')
    header = read_header(text.replace("from __future__ import annotations\n", ""), "a.py")
    assert (header.name, header.kind, header.version, header.sandbox) == ("sample", Kind.OUTPUT, "1", True)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.stem)
def test_each_example_is_called_after_its_file_and_asks_for_the_sandbox(file: object) -> None:
    assert hasattr(file, "read_text")
    header = read_header(file.read_text("utf-8"), "example")
    assert header.name == getattr(file, "stem", "")
    assert header.sandbox


def test_there_is_an_example_of_each_kind() -> None:
    found = {read_header(file.read_text("utf-8"), file.name).kind for file in EXAMPLES.glob("*.py")}
    assert found == set(Kind)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:", "a.py: no Python: line 1"),
        ("\0", "a.py: no Python"),
        ("(" * 5000, "a.py: no Python"),
        ("x = 1", "no `PLUGIN = "),
        ("PLUGIN = dict(name='a')", "PLUGIN must be a literal"),
        ("PLUGIN = {[]: 1}", "PLUGIN must be a literal"),
        ("PLUGIN = {'name': 'a'}", "missing required field"),
        ("-" * 200_000 + "1", "a.py: no Python: it is nested too deeply"),
        (scheduler("pass").replace('"sample"', '"../x"'), "a.py: PLUGIN: "),
        (scheduler("pass").replace('"sample"', '"a\\n"'), "a.py: PLUGIN: "),
        (scheduler("pass").replace('"scheduler"', '"input"'), "Invalid enum value 'input'"),
        (scheduler("pass", more='"sandobx": True'), "unknown field `sandobx`"),
        (scheduler("pass").replace("class Scheduler", "class Schedular"), "needs `class Scheduler`"),
        (scheduler("pass").replace("class Options", "class Option"), "needs `class Options`"),
    ],
)
def test_what_is_no_plug_in_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(PluginInvalid) as refused:
        read_header(text, "a.py")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.data())
def test_whatever_stands_in_a_file_it_is_a_plug_in_or_refused(data: st.DataObject) -> None:
    text = scheduler("return 1")
    start = data.draw(st.integers(0, len(text)), "from")
    end = data.draw(st.integers(start, min(len(text), start + 20)), "to")
    odd = st.sampled_from(["[]", "-", "{**a}", "'", "\\N{x}", "\n", "1+1j"])
    changed = text[:start] + data.draw(st.text(max_size=10) | odd, "instead") + text[end:]
    said = "a.py: "
    try:
        assert read_header(changed, "a.py").kind in Kind
    except PluginInvalid as exc:
        said = str(exc)
    assert said.startswith("a.py: ")
