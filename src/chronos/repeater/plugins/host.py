"""Where the code of a plug-in runs: in our own process, or at the other end of a pipe. The one place it is called."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

import msgspec

from chronos.repeater.plugins.options import converted, described
from chronos.repeater.plugins.port import Field, Header, Kind, PluginFailed, PluginInvalid, Source

Answer = TypeVar("Answer")


class Host:
    """One plug-in, loaded. Whatever its code raises comes out as `PluginFailed`."""

    def __init__(self, source: Source, *, by_import: bool = True) -> None:
        """Run the plug-in's file.

        Args:
            by_import: Import an installed one under its own name; otherwise its text is run as it was read.
        """
        self._source = source
        self._made: Any = None
        self._module = self._guarded(lambda: _loaded(source, by_import=by_import))
        self._options = self._struct()

    @property
    def header(self) -> Header:
        return self._source.header

    def fields(self) -> list[Field]:
        return self._guarded(lambda: described(self._options))

    def create(self, options: Mapping[str, Any], seed: int) -> None:
        name = self.header.name
        values = self._guarded(lambda: converted(self._options, options, name))
        kind = getattr(self._module, self.header.kind.class_name)
        arguments = (values, seed) if self.header.kind is Kind.SCHEDULER else (values,)
        try:
            self._made = self._guarded(lambda: kind(*arguments))
        except PluginFailed as exc:
            if isinstance(exc.__cause__, ValueError):
                raise PluginInvalid(f"plug-in `{name}`: {exc.__cause__}") from None
            raise

    def ask(self, method: str, *arguments: Any) -> Any:
        return self._guarded(lambda: getattr(self._made, method)(*arguments))

    def _struct(self) -> type[msgspec.Struct]:
        found = getattr(self._module, "Options", None)
        if not isinstance(found, type) or not issubclass(found, msgspec.Struct):
            raise PluginInvalid(f"{self._source.path}: `class Options` must be a msgspec.Struct.")
        return found

    def _guarded(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except PluginInvalid:
            raise
        except (Exception, SystemExit) as exc:
            # Somebody else's code: whatever it raises, what is said is its name and its line.
            raise PluginFailed(self.header.name, _said(exc, self._source.path)) from exc


def _loaded(source: Source, *, by_import: bool) -> ModuleType:
    if source.module and by_import:
        return import_module(source.module)
    module = ModuleType(f"rpr_plugin_{source.header.name.replace('-', '_')}")
    module.__file__ = source.path
    sys.modules[module.__name__] = module  # where its annotations are looked up
    # Not imported, which would read it again: what runs is what was hashed.
    exec(compile(source.text, source.path, "exec"), module.__dict__)  # noqa: S102 - running it is what was asked for
    return module


def _said(exc: BaseException, path: str) -> str:
    """Return an exception in one line of bounded length, with the line of the plug-in it came from."""
    lines = [frame.lineno for frame in traceback.extract_tb(exc.__traceback__) if frame.filename == path]
    where = f"line {lines[-1]}: " if lines else ""
    text = " ".join(f"{type(exc).__name__}: {exc}".split()).rstrip(": ")
    return f"{where}{text[:500]}"
