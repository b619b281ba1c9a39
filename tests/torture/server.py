"""`chronos`, with small bounds: what happens once a day happens every second. Everything else is the product's."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from chronos.cli.server import main
from chronos.cluster.local import LocalLog, LocalLogSettings
from chronos.server import assemble
from chronos.store.history import HistorySettings
from chronos.store.sqlite import SqliteState, StateSettings
from chronos.store.truncation import TruncationSettings

LOG = LocalLogSettings(checkpoint_pages=60)
STATE = StateSettings(checkpoint_pages=200, history=HistorySettings(segment_rows=500))


def log(folder: Path, node: str) -> LocalLog:
    return LocalLog(folder, LOG, node=node)


def state(folder: Path) -> SqliteState:
    return SqliteState(folder, STATE)


def run() -> None:
    """Run the command line with these bounds."""
    bounds = {
        "TruncationSettings": partial(TruncationSettings, every_s=0.7, reserve_entries=20),
        "Outside": partial(assemble.Outside, log=log, state=state),
    }
    for name, bounded in bounds.items():
        assert hasattr(assemble, name), name
        setattr(assemble, name, bounded)
    main(sys.argv[1:], prog_name="chronos")


if __name__ == "__main__":
    run()
