"""The process that writes state.db and history for a server with much to write.

Beside a planner that is busy, a thread that writes takes the interpreter away from it, and waits for it in turn. So
from some thousand rows at a time on they go to a process of their own. Nothing depends on it: should it end, the
server writes by itself again, and what is written is the same, byte by byte.
"""
