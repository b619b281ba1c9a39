"""Rooms are named after what they answer for, and everything in them fits on a screen or two."""

from __future__ import annotations

from tests.architecture.source import PACKAGE, functions, modules

NOBODYS_ROOMS = {"common", "helper", "helpers", "misc", "util", "utils"}
FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 500


def test_no_room_is_called_utils() -> None:
    names = {part for module in modules() for part in module.path.removesuffix(".py").split("/")}
    assert names & NOBODYS_ROOMS == set()


def test_a_module_holds_one_idea() -> None:
    lines = {module.path: len(module.text.splitlines()) for module in modules()}
    assert {path: count for path, count in lines.items() if count > MODULE_LINES_MAX} == {}


def test_a_function_fits_on_a_screen() -> None:
    longest = {
        f"{module.path}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for module in modules()
        for node in functions(module)
    }
    assert {where: lines for where, lines in longest.items() if lines > FUNCTION_LINES_MAX} == {}


def test_the_package_is_where_these_tests_look() -> None:
    assert (PACKAGE / "errors.py").is_file()
    assert len(modules()) > 10
