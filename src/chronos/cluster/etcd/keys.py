"""The keys of one cluster's log, and of the seat of its leader."""

from __future__ import annotations

_DIGITS = 16


class Keys:
    """Keys under `/chronos/<cluster>/`: nothing outside of it is ever touched.

    Attributes:
        log_end: The key behind the last possible entry.
        base: Holds the index that an empty log begins behind; the first entry of all takes it away.
        meta: Holds the format of all of this.
    """

    def __init__(self, cluster: str) -> None:
        prefix = f"/chronos/{cluster}/".encode()
        self.leader = prefix + b"leader"
        self.base = prefix + b"base"
        self.meta = prefix + b"meta"
        self._log = prefix + b"log/"
        self.log_end = prefix + b"log0"
        self._progress = prefix + b"progress/"
        self.progress_end = prefix + b"progress0"

    def entry(self, index: int) -> bytes:
        """Return the key of an entry; keys are in the order of indexes."""
        return self._log + number(index)

    def index(self, key: bytes) -> int:
        """Return the index of an entry's key."""
        return int(key[len(self._log) :], 16)

    def progress(self, node: str = "") -> bytes:
        """Return the key of a node's progress; without a node, the key before all of them."""
        return self._progress + node.encode()

    def node(self, key: bytes) -> str:
        """Return the node of a progress key."""
        return key[len(self._progress) :].decode()


def number(value: int) -> bytes:
    """Return a number such that bytes are in the order of numbers: etcd compares values byte by byte."""
    return b"%0*x" % (_DIGITS, value)
