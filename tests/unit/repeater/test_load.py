from __future__ import annotations

import subprocess
import sys

from chronos.repeater.load import HostLoad


def test_the_load_of_the_host_is_in_its_bounds_and_the_cpu_is_known_from_the_second_reading_on() -> None:
    host = HostLoad()

    first, second = host.read(), host.read()

    assert first.cpu_percent is None
    assert second.cpu_percent is not None
    assert 0 <= second.cpu_percent <= 100
    assert 0 < second.memory_percent <= 100
    assert second.load1 >= 0


def test_the_modes_do_not_import_what_reads_the_load() -> None:
    program = "import chronos.repeater.modes.load_adaptive, sys; sys.exit('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
