"""Rooms are named after what they answer for, and everything in them fits on a screen or two."""

from __future__ import annotations

import ast

from tests.architecture.source import PACKAGE, Module, functions, modules

Function = ast.FunctionDef | ast.AsyncFunctionDef

NOBODYS_ROOMS = {"common", "helper", "helpers", "misc", "util", "utils"}
FUNCTION_LINES_MAX = 60
TABLE_LINES_MAX = 120
MODULE_LINES_MAX = 500


def test_no_room_is_called_utils() -> None:
    names = {part for module in modules() for part in module.path.removesuffix(".py").split("/")}
    assert names & NOBODYS_ROOMS == set()


def test_a_module_holds_one_idea() -> None:
    lines = {module.path: len(module.text.splitlines()) for module in modules()}
    assert {path: count for path, count in lines.items() if count > MODULE_LINES_MAX} == {}


def lines_of(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def is_table(node: Function) -> bool:
    """Whether a function is a list of routes and nothing else: it is read like a table, not like a function."""
    branches = (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.comprehension, ast.Match)
    return node.name == "endpoints" and not any(isinstance(inner, branches) for inner in ast.walk(node))


def test_a_function_fits_on_a_screen() -> None:
    too_long = {
        f"{module.path}:{node.lineno} {node.name}": lines_of(node)
        for module in modules()
        for node in functions(module)
        if lines_of(node) > (TABLE_LINES_MAX if is_table(node) else FUNCTION_LINES_MAX)
    }
    assert too_long == {}


def test_a_table_with_a_branch_in_it_is_a_function() -> None:
    table, function = functions(
        Module(
            "sample.py", "def endpoints():\n    return [1]\ndef endpoints(x):\n    return [1] if x else [y for y in x]"
        )
    )
    assert is_table(table)
    assert not is_table(function)


def test_the_package_is_where_these_tests_look() -> None:
    assert (PACKAGE / "errors.py").is_file()
    assert len(modules()) > 10
