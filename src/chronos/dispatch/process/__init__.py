"""Process targets: programs on the node, off until an administrator switches them on."""

from __future__ import annotations

from chronos.dispatch.process.check import check_process_target
from chronos.dispatch.process.dispatcher import LogSink, ProcessDispatcher
from chronos.dispatch.process.rules import ProcessSettings

__all__ = ["LogSink", "ProcessDispatcher", "ProcessSettings", "check_process_target"]
