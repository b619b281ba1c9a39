"""Reads what a plug-in says about itself, without running any of it."""

from __future__ import annotations

import ast

import msgspec

from chronos.repeater.plugins.port import Header, PluginInvalid

SOURCE_BYTES_MAX = 1024 * 1024


def read_header(text: str, where: str) -> Header:
    """Return the header of a plug-in's source.

    Args:
        where: The file, for messages.

    Raises:
        PluginInvalid: It is no Python, has no `PLUGIN` that can be read without running it, or lacks a class.
    """
    tree = _parsed(text, where)
    try:
        header = msgspec.convert(_literal(tree, where), Header)
    except msgspec.ValidationError as exc:
        raise PluginInvalid(f"{where}: PLUGIN: {exc}.") from None
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for name in ("Options", header.kind.class_name):
        if name not in defined:
            raise PluginInvalid(f"{where}: a plug-in of kind {header.kind} needs `class {name}` at its top level.")
    return header


def _parsed(text: str, where: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as exc:
        raise PluginInvalid(f"{where}: no Python: line {exc.lineno}: {exc.msg}.") from None
    except (ValueError, RecursionError, MemoryError) as exc:
        raise PluginInvalid(f"{where}: no Python: {str(exc) or 'it is nested too deeply'}.") from None


def _literal(tree: ast.Module, where: str) -> object:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["PLUGIN"]:
            try:
                return ast.literal_eval(node.value)
            except (ValueError, TypeError, RecursionError, MemoryError):
                raise PluginInvalid(f"{where}: PLUGIN must be a literal: names, calls and sums are not read.") from None
    raise PluginInvalid(f'{where}: no plug-in: it has no `PLUGIN = {{"name": …, "kind": …}}` at its top level.')
