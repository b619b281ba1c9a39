"""The host's load, as psutil reads it; imported by the mode that needs it, and by nothing else."""

from __future__ import annotations

import psutil

from chronos.repeater.port import Load


class HostLoad:
    """CPU, memory and load average of the whole machine, not of this process."""

    def __init__(self) -> None:
        self._has_read = False

    def read(self) -> Load:
        """Return the load now. The CPU's share is that of the time since the last reading; the first has none."""
        cpu_percent = psutil.cpu_percent(interval=None)
        known, self._has_read = self._has_read, True
        return Load(cpu_percent if known else None, psutil.virtual_memory().percent, psutil.getloadavg()[0])
