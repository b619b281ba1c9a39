"""Features: the built-in ones, and those of other packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest

from chronos.errors import ConfigInvalid
from chronos.server import manifest
from chronos.server.settings import Settings


class AnyHost:
    """A host that takes everything."""

    def __init__(self) -> None:
        self.calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "BUILT_IN", ())


def offer(monkeypatch: pytest.MonkeyPatch, **modules: ModuleType) -> None:
    class Point:
        def __init__(self, name: str, module: ModuleType) -> None:
            self.name = name
            self._module = module

        def load(self) -> ModuleType:
            return self._module

    points: list[Any] = [Point(name, module) for name, module in modules.items()]
    monkeypatch.setattr(manifest, "entry_points", lambda group: points)


def feature(install: Any) -> ModuleType:
    module = ModuleType("somebodys")
    module.install = install  # type: ignore[attr-defined]
    return module


def test_a_feature_of_another_package_is_loaded_only_when_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, extra=feature(lambda host, settings: host.calls.append(settings["a"])))
    host: Any = AnyHost()

    assert manifest.install(host, Settings(), {}) == []
    assert host.calls == []
    assert manifest.install(host, Settings(features={"extra": {"a": "b"}}), {}) == ["extra"]
    assert host.calls == ["b"]


def test_a_broken_feature_does_not_keep_the_server_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(host: Any, settings: Any) -> None:
        raise ZeroDivisionError

    offer(monkeypatch, broken=feature(broken), fine=feature(lambda host, settings: host.calls.append("fine")))
    host: Any = AnyHost()

    assert manifest.install(host, Settings(features={"broken": {}, "fine": {}}), {}) == ["fine"]
    assert host.calls == ["fine"]


def test_a_name_that_nobody_offers_is_told_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, extra=feature(lambda host, settings: None))
    host: Any = AnyHost()

    with pytest.raises(ConfigInvalid, match="`extra`"):
        manifest.install(host, Settings(features={"extras": {}}), {})


def test_the_group_is_the_one_that_is_documented() -> None:
    assert manifest.GROUP == "chronos.features"
    assert EntryPoint("a", "b", manifest.GROUP).group == "chronos.features"
