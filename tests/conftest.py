"""What every test shares: properties that draw the same cases each time.

A run that fails must fail again. `CHRONOS_HYPOTHESIS=explore` draws anew, to look for what nobody has thought of.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("CHRONOS_HYPOTHESIS", "repeatable"))
