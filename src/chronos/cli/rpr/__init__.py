"""`rpr`: repeat a command, properly. What is not needed for a run is not imported for it."""

from __future__ import annotations

from chronos.cli.rpr.root import main, run

__all__ = ["main", "run"]
