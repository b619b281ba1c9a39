"""Plug-ins are found by name, in packages and in one directory, and none is imported to be listed."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tests.unit.repeater.plugins.written import put, scheduler, written

from chronos.repeater.plugins.catalog import Catalog
from chronos.repeater.plugins.folder import Folder
from chronos.repeater.plugins.host import Host
from chronos.repeater.plugins.port import Kind, PluginInvalid, PluginRefused, PluginUnknown

WAITING = scheduler("return 7")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where modules are installed."""
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    return place


def offers(name: str, module: str, kind: Kind = Kind.SCHEDULER) -> dict[Kind, list[EntryPoint]]:
    return {kind: [EntryPoint(name, module, kind.group)]}


def folder(tmp_path: Path, *pins: str) -> Folder:
    return Folder(str(tmp_path / "plugins"), dict(pin.split("=") for pin in pins))


def test_an_installed_plug_in_is_listed_and_found_without_being_imported(packages: Path) -> None:
    (packages / "waiting_one.py").write_text(WAITING)
    catalog = Catalog(None, offers("sample", "waiting_one"))
    [entry] = catalog.entries()
    found = catalog.find("sample", Kind.SCHEDULER)
    assert (entry.name, entry.kind, entry.state) == ("sample", "scheduler", "installed")
    assert (found.text, found.module) == (WAITING, "waiting_one")
    assert "waiting_one" not in sys.modules


def test_an_installed_plug_in_runs_under_its_own_name(packages: Path) -> None:
    (packages / "waiting_two.py").write_text(WAITING.replace("return 7", "return __name__"))
    plugged = Host(Catalog(None, offers("sample", "waiting_two")).find("sample"))
    plugged.create({}, 1)
    assert plugged.ask("next_s", None) == "waiting_two"


@pytest.mark.parametrize(
    ("module", "text", "said"),
    [
        ("not_there", None, "is no module"),
        ("not_there.at_all", None, "cannot be read"),
        ("another", WAITING.replace('"sample"', '"other"'), "calls itself scheduler `other`"),
        ("output_one", written("pass", kind="output"), "calls itself output `sample`"),
        ("no_plugin", "x = 1\n", "no plug-in"),
    ],
)
def test_an_entry_point_that_leads_to_something_else_is_refused(
    packages: Path, module: str, text: str | None, said: str
) -> None:
    if text is not None:
        (packages / f"{module}.py").write_text(text)
    with pytest.raises(PluginInvalid, match=said):
        Catalog(None, offers("sample", module)).find("sample")


def test_a_directory_is_listed_with_what_is_wrong_in_it(tmp_path: Path) -> None:
    place = tmp_path / "plugins"
    good = put(place, "sample", WAITING)
    put(place, "fresh", WAITING.replace('"sample"', '"fresh"'))
    changed = put(place, "moved", WAITING.replace('"sample"', '"moved"'))
    put(place, "moved", WAITING.replace('"sample"', '"moved"') + "\n")
    put(place, "open", WAITING.replace('"sample"', '"open"'))
    (place / "open.py").chmod(0o666)
    entries = Catalog(folder(tmp_path, good, changed), {}).entries()
    assert [(entry.name, entry.state) for entry in entries] == [
        ("fresh", "not pinned"),
        ("moved", "changed"),
        ("open", "refused"),
        ("sample", "pinned"),
    ]
    assert "others may write to" in entries[2].why


def test_only_what_is_pinned_is_found(tmp_path: Path) -> None:
    put(tmp_path / "plugins", "sample", WAITING)
    with pytest.raises(PluginRefused, match="is not pinned"):
        Catalog(folder(tmp_path), {}).find("sample")


def test_a_plug_in_of_another_kind_says_how_it_is_used(tmp_path: Path) -> None:
    catalog = Catalog(folder(tmp_path, put(tmp_path / "plugins", "sample", WAITING)), {})
    with pytest.raises(PluginInvalid, match="is of kind scheduler, not output; use it as `rpr plugin sample`"):
        catalog.find("sample", Kind.OUTPUT)


def test_two_of_one_name_are_refused_whichever_comes_first(tmp_path: Path, packages: Path) -> None:
    (packages / "waiting_three.py").write_text(WAITING)
    pin = put(tmp_path / "plugins", "sample", WAITING)
    with pytest.raises(PluginInvalid, match="more than one plug-in `sample`"):
        Catalog(folder(tmp_path, pin), offers("sample", "waiting_three")).find("sample")


@pytest.mark.parametrize("name", ["nothing", "../sample", "", "a/b"])
def test_a_name_that_nobody_has_is_unknown(tmp_path: Path, name: str) -> None:
    put(tmp_path, "sample", WAITING)
    put(tmp_path / "plugins", "other", WAITING)
    with pytest.raises((PluginUnknown, PluginInvalid)) as refused:
        Catalog(folder(tmp_path), {}).find(name)
    assert isinstance(refused.value, PluginUnknown)
    assert "rpr plugins list" in str(refused.value)
