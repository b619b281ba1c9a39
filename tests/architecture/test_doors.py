"""A feature is one folder with an `install(host, settings)` that walks through at least one door."""

from __future__ import annotations

import ast

import pytest
from tests.architecture.source import Module, functions, modules


def doors() -> set[str]:
    """Return the names of the doors: the methods of `plugin.Host`."""
    (page,) = [module for module in modules() if module.path == "plugin.py"]
    (host,) = [node for node in page.tree.body if isinstance(node, ast.ClassDef) and node.name == "Host"]
    return {node.name for node in host.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def features() -> dict[str, list[Module]]:
    """Return feature → its modules."""
    found: dict[str, list[Module]] = {}
    for module in modules():
        parts = module.path.split("/")
        if parts[0] == "features" and len(parts) > 2:
            found.setdefault(parts[1], []).append(module)
    return found


def install_arguments(feature: list[Module]) -> list[str] | None:
    """Return the names `install` takes in the feature's `__init__.py`; None when there is no `install`."""
    for module in feature:
        if module.path.count("/") == 2 and module.path.endswith("/__init__.py"):
            for node in module.tree.body:
                if isinstance(node, ast.FunctionDef) and node.name == "install":
                    return [argument.arg for argument in node.args.args]
    return None


def doors_used(feature: list[Module]) -> set[str]:
    """Return the doors that something called `host` is asked for, anywhere in the folder."""
    return {
        node.func.attr
        for module in feature
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "host"
    } & doors()


FEATURES = sorted(features())


def test_the_page_of_doors_has_the_doors_features_need() -> None:
    assert {"endpoint", "on", "around_dispatch", "service", "collection", "provide", "require"} <= doors()


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_is_installed_with_a_host_and_its_settings(name: str) -> None:
    assert install_arguments(features()[name]) == ["host", "settings"]


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_walks_through_a_door(name: str) -> None:
    assert doors_used(features()[name]), f"features/{name} is installed and reachable by nobody"


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_says_in_one_docstring_what_it_is(name: str) -> None:
    (front,) = [module for module in features()[name] if module.path == f"features/{name}/__init__.py"]
    assert ast.get_docstring(front.tree)


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_has_no_empty_files(name: str) -> None:
    empty = [module.path for module in features()[name] if not module.tree.body]
    assert [path for path in empty if not path.endswith("/adapters/__init__.py")] == []


def test_every_feature_is_a_folder() -> None:
    loose = [module.path for module in modules() if module.path.startswith("features/") and module.path.count("/") == 1]
    assert loose == ["features/__init__.py"]


def test_the_core_does_not_know_the_features_by_name() -> None:
    # One manifest lists them; nobody else in the product imports one.
    knowing = {
        module.path
        for module in modules()
        if not module.path.startswith(("features/", "server/manifest"))
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("chronos.features.")
    }
    assert knowing == set()


def test_a_feature_without_a_door_is_seen() -> None:
    shut = [Module("features/shut/__init__.py", '"""Shut."""\ndef install(host, settings):\n    print(host.clock)')]
    assert install_arguments(shut) == ["host", "settings"]
    assert doors_used(shut) == set()


def test_install_is_looked_for_at_the_top_only() -> None:
    hidden = [Module("features/hidden/__init__.py", "class A:\n    def install(self, host, settings): ...")]
    assert install_arguments(hidden) is None
    assert list(functions(hidden[0]))
