"""Makes each run with less of the processor than others get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

PLUGIN = {
    "name": "nice",
    "kind": "executor",
    "version": "1.0.0",
    "description": "starts each run with a lower priority",
    "sandbox": True,
}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    by: Annotated[int, msgspec.Meta(ge=1, le=19, description="How much lower.")] = 10


class Executor:
    def __init__(self, options: Options) -> None:
        self._options = options

    def command(self, argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
        return ["nice", "-n", str(self._options.by), *argv]
