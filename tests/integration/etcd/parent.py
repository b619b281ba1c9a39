"""A process that has an engine, prints its number, and does nothing more: for tests that kill it.

`python -m tests.integration.etcd.parent FOLDER PORT PROGRAM [launcher]`
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import structlog
from tests.integration.etcd.running import running, together

from chronos.cluster.etcd import child


async def main(folder: str, port: str, program: str, *how: str) -> None:
    if how:
        child.shutil.which = lambda *_, **__: None  # type: ignore[attr-defined]  # as where there is no setpriv
    settings = together(Path(folder), ["n1"], [int(port)])["n1"]
    async with running(settings, Path(program)) as engine:
        print(engine.status.pid, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(main(*sys.argv[1:]))
