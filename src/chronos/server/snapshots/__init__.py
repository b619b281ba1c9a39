"""State and history for a node that is too far behind to follow the log: offered, fetched in pieces, put in place."""

from __future__ import annotations
