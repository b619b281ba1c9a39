"""The other end of `sandbox.py`: takes its limits, then runs the plug-in and answers for it. Started, never imported.

What a plug-in may need of the standard library is imported before; from then on nothing can be opened.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import enum
import functools
import itertools
import json
import math
import os
import random
import re
import resource
import statistics
import sys
import typing
from typing import IO, Any

from chronos.repeater.plugins.header import read_header
from chronos.repeater.plugins.host import Host
from chronos.repeater.plugins.port import PluginFailed, PluginInvalid, Source
from chronos.repeater.port import Run

PRELOADED = (
    collections, dataclasses, datetime, enum, functools, itertools, json, math, random, re, statistics, typing,
)  # fmt: skip


def main() -> None:
    """Answer, line by line, until nobody asks any more."""
    asked, answers = _pipes()
    _limit(cpu_s=int(sys.argv[1]), memory_bytes=int(sys.argv[2]))
    host: Host | None = None
    for line in asked:
        word, *arguments = json.loads(line)
        try:
            if host is None:
                host = _load(*arguments)
                answer: Any = None
            else:
                answer = _done(host, word, arguments)
            said = json.dumps(["ok", answer])
        except PluginInvalid as exc:
            said = json.dumps(["invalid", str(exc)])
        except PluginFailed as exc:
            said = json.dumps(["failed", exc.facts["why"]])
        except (TypeError, ValueError, RecursionError) as exc:
            said = json.dumps(["failed", f"its answer cannot be written as JSON: {exc}"])
        answers.write(said.encode() + b"\n")
        answers.flush()


def _pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Return where questions come from and answers go, out of the way of a plug-in that prints."""
    asked, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    return asked, answers


def _limit(*, cpu_s: int, memory_bytes: int) -> None:
    """Give up, for good, whatever a plug-in has no need of."""
    _set(resource.RLIMIT_CPU, cpu_s, cpu_s + 1)
    _set(resource.RLIMIT_CORE, 0, 0)
    _set(resource.RLIMIT_FSIZE, 0, 0)
    with contextlib.suppress(OSError, ValueError):  # macOS has no limit on address space
        _set(resource.RLIMIT_AS, memory_bytes, memory_bytes)
    _set(resource.RLIMIT_NPROC, 0, 0)
    _set(resource.RLIMIT_NOFILE, 0, 0)


def _set(which: int, soft: int, hard: int) -> None:
    _, most = resource.getrlimit(which)
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(which, (soft, hard))


def _load(text: str, path: str) -> Host:
    return Host(Source(read_header(text, path), text, path, "", ""), by_import=False)


def _done(host: Host, word: str, arguments: list[Any]) -> Any:
    if word == "fields":
        return host.fields()
    if word == "create":
        return host.create(*arguments)
    method, *rest = arguments
    return host.ask(method, *([Run(*rest[0])] if method == "next_s" else rest))


if __name__ == "__main__":
    main()
