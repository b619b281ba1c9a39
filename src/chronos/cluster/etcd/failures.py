"""What the engine can do to a node, as errors."""

from __future__ import annotations

from chronos.errors import ConfigInvalid, Unavailable


class EngineUnusable(ConfigInvalid):
    """There is no etcd that a cluster could run on; the message says how to get one."""


class EngineFailed(Unavailable):
    """The cluster's engine does not run, and starting it again would not help; the message says what does."""
