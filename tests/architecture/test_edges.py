"""Broad catches stand at three edges only, and no SQL is put together from text."""

from __future__ import annotations

import ast

import pytest
from tests.architecture.source import Module, modules

BROAD = {"Exception", "BaseException"}

# Where one failure must not take the rest with it. There are three kinds of such places, and no others.
A_REQUEST = {"server/gate.py __call__", "cluster/peers/session.py _answer"}
A_SUBSCRIBER = {"server/subscribers.py _handle"}
A_SERVICES_TURN = {
    "dispatch/executor.py _outcome",
    "dispatch/executor.py _start",
    "dispatch/executor.py _look",
    "dispatch/executor.py _tell",
    "testing/simulation/loop.py _work",  # what is raised in a thread belongs to whoever waits for it
    "repeater/plugins/host.py _guarded",  # nor what somebody's plug-in raises from being one line
    "server/manifest.py _install_foreign",  # somebody else's code must not keep the server from starting
}
EDGES = A_REQUEST | A_SUBSCRIBER | A_SERVICES_TURN


def broad_catches(module: Module) -> list[str]:
    """Return `path function` for every handler that takes whatever comes and does not raise it again."""
    found = []
    for function, node in _with_function(module.tree, "module"):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _raises_again(node):
            found.append(f"{module.path} {function}")
        if isinstance(node, ast.Call) and module.dotted(node.func) == "contextlib.suppress":
            found += [f"{module.path} {function}" for arg in node.args if _is_broad(arg)]
    return found


def _with_function(node: ast.AST, function: str) -> list[tuple[str, ast.AST]]:
    found = []
    for child in ast.iter_child_nodes(node):
        inner = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        found += [(inner, child), *_with_function(child, inner)]
    return found


def _is_broad(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(_is_broad(each) for each in kind.elts)
    return kind is None or (isinstance(kind, ast.Name) and kind.id in BROAD)


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def sql_from_text(module: Module) -> list[str]:
    """Return where a statement handed to `execute` is formatted or concatenated."""
    composed = _composed_names(module.tree)
    return [
        f"{module.path}:{node.lineno}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"execute", "executemany", "executescript"}
        and node.args
        and (_is_composed(node.args[0]) or (isinstance(node.args[0], ast.Name) and node.args[0].id in composed))
    ]


def _composed_names(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _is_composed(node.value):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and isinstance(node.op, ast.Add):
            names |= {node.target.id} if _is_text(node.value) else set()
    return names


def _is_composed(value: ast.expr) -> bool:
    if _text_of(value).startswith("PRAGMA "):
        return False  # pragmas take no bound values
    if isinstance(value, ast.JoinedStr):
        return True
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add | ast.Mod):
        return _is_text(value.left) or _is_text(value.right) or _is_composed(value.left) or _is_composed(value.right)
    return (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr in {"format", "join", "replace"}
        and (_is_text(value.func.value) or value.func.attr == "format")
    )


def _text_of(value: ast.expr) -> str:
    """Return the literal text an expression begins with."""
    if isinstance(value, ast.BinOp):
        return _text_of(value.left)
    if isinstance(value, ast.JoinedStr) and value.values:
        return _text_of(value.values[0])
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))


def test_only_the_three_edges_catch_whatever_comes() -> None:
    found = {where for module in modules() for where in broad_catches(module)}
    assert found - EDGES == set()


def test_every_edge_of_the_list_exists() -> None:
    found = {where for module in modules() for where in broad_catches(module)}
    assert EDGES - found == set()


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n try: g()\n except Exception: pass",
        "def f():\n try: g()\n except: pass",
        "def f():\n try: g()\n except (OSError, BaseException): log()",
        "import contextlib\ndef f():\n with contextlib.suppress(Exception): g()",
    ],
)
def test_a_broad_catch_is_seen(code: str) -> None:
    assert broad_catches(Module("sample.py", code)) == ["sample.py f"]


@pytest.mark.parametrize(
    "code",
    [
        "try: g()\nexcept OSError: pass",
        "try: g()\nexcept BaseException:\n undo()\n raise",
    ],
)
def test_a_narrow_catch_and_a_clean_up_are_fine(code: str) -> None:
    assert broad_catches(Module("sample.py", code)) == []


def test_no_statement_is_put_together_from_text() -> None:
    assert [where for module in modules() for where in sql_from_text(module)] == []


@pytest.mark.parametrize(
    "code",
    [
        'db.execute(f"SELECT {x}")',
        'db.execute("SELECT " + x)',
        'db.execute("SELECT %s" % x)',
        'db.execute("SELECT {}".format(x))',
        'sql = f"SELECT {x}"\ndb.cursor().execute(sql)',
        'sql = "SELECT 1"\nsql += " LIMIT 1"\ndb.executemany(sql, [])',
        'db.execute(" ".join(parts))',
    ],
)
def test_a_statement_from_text_is_seen(code: str) -> None:
    assert sql_from_text(Module("sample.py", code))


def test_a_statement_with_bound_values_is_fine() -> None:
    assert (
        sql_from_text(Module("sample.py", 'SQL = "SELECT ?"\ndb.execute(SQL, (x,))\ndb.execute("SELECT ?", (x,))'))
        == []
    )
