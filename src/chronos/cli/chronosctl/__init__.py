"""`chronosctl`: everything a person does to Chronos from a terminal.

Commands are loaded when they are called, so that the help and the completion answer in a blink. Nothing
in here imports the server.
"""

from __future__ import annotations

from chronos.cli.chronosctl.root import main, run

__all__ = ["main", "run"]
