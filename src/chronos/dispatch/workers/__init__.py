"""Worker processes: `WorkerPool` is the `Executor` that hands deliveries over a socket, `Bench` the other end of it."""

from __future__ import annotations
