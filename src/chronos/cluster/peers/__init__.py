"""Members speak with each other: one listener a node, mutual TLS, framed questions and answers with deadlines.

`port.py` is what others need of it; `net.py` and `remote.py` are the network's, `memory.py` that of one process.
"""

from __future__ import annotations
