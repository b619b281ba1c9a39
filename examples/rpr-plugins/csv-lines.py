"""Shows each run as a line of comma-separated values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

PLUGIN = {
    "name": "csv-lines",
    "kind": "output",
    "version": "1.0.0",
    "description": "one line of comma-separated values a run: its number, result, exit code and first line",
    "sandbox": True,
}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    separator: Annotated[Literal[",", ";", "|"], msgspec.Meta(description="What stands between two values.")] = ","
    only_failures: Annotated[bool, msgspec.Meta(description="Leave out the runs that succeeded.")] = False


class Output:
    def __init__(self, options: Options) -> None:
        self._options = options

    def process(self, run: Mapping[str, Any]) -> str | None:
        if run["ok"] and self._options.only_failures:
            return None
        first = (run["stdout"].splitlines() or [""])[0].replace('"', '""')
        values = [str(run["run"]), run["result"], str(run["exit_code"]), f'"{first}"']
        return self._options.separator.join(values) + "\n"
