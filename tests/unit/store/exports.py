"""Reads an export as docs/reference/export-format.md says, and nothing else: no word of the server's is believed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

EMPTY = hashlib.blake2b(b"", digest_size=32).digest()
CHANGES = {"revision", "deletion", "document", "reset", "forgotten"}


def leaf(data: bytes) -> bytes:
    return hashlib.blake2b(b"\0" + data, digest_size=32).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.blake2b(b"\1" + left + right, digest_size=32).digest()


def root(leaves: list[bytes]) -> bytes:
    if len(leaves) <= 1:
        return leaves[0] if leaves else EMPTY
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return node(root(leaves[:half]), root(leaves[half:]))


async def collected(pieces: AsyncIterator[bytes]) -> bytes:
    """Return a whole export."""
    return b"".join([piece async for piece in pieces])


class Export:
    """An export that was read, with the bytes of every `data`."""

    def __init__(self, text: bytes) -> None:
        self.lines: list[dict[str, Any]] = []
        self.data: list[bytes] = []
        for line in text.splitlines():
            self.lines.append(json.loads(line))
            # `data` is the last field of its line.
            self.data.append(line.partition(b'"data":')[2][:-1])

    def of(self, *types: str) -> list[dict[str, Any]]:
        """Return the lines of some types."""
        return [line for line in self.lines if line["type"] in types]

    def records(self) -> set[bytes]:
        """Return the data of all executions and ranges."""
        found = zip(self.lines, self.data, strict=True)
        return {data for line, data in found if line["type"] in ("execution", "range")}

    def verify(self) -> None:
        """Check what can be checked of a whole one; an assertion fails where it is not what it says."""
        header = self.lines[0]
        assert header["type"] == "header"
        assert self.lines[-1]["type"] == "end"
        assert self.lines[-1]["lines"] == len(self.lines) - 1
        seals = self._verified_seals(header)
        self._verify_segments(seals)
        links = self._verified_changes(header)
        for seal in seals.values():
            assert links[seal["changes"]].hex() == (seal["changes_hash"] or EMPTY.hex())

    def _verified_seals(self, header: dict[str, Any]) -> dict[int, dict[str, Any]]:
        before, seals = "", {}
        for line, data in zip(self.lines, self.data, strict=True):
            if line["type"] == "seal":
                assert line["data"]["previous"] == before
                before, seals[line["segment"]] = leaf(data).hex(), line["data"]
        assert header.get("seal_hash", "") == before
        return seals

    def _verify_segments(self, seals: dict[int, dict[str, Any]]) -> None:
        drops = {line["segment"]: line for line in self.of("drop")}
        leaves: dict[int, list[bytes]] = {}
        dropped: dict[int, int] = {}
        for line, data in zip(self.lines, self.data, strict=True):
            if line["type"] == "segment":
                leaves[line["segment"]] = []
            elif line["type"] in ("execution", "range"):
                leaves[line["segment"]].append(leaf(data))
            elif line["type"] == "leaf":
                leaves[line["segment"]].append(bytes.fromhex(line["leaf"]))
                dropped[line["segment"]] = dropped.get(line["segment"], 0) + (line["why"] == "dropped")
            elif line["type"] == "segment_end":
                assert line["rows"] == len(leaves[line["segment"]])
        for number, seal in seals.items():
            if number in leaves:
                assert len(leaves[number]) == seal["rows"]
                assert root(leaves[number]).hex() == seal["root"]
            else:
                assert drops[number]["whole"], "a segment is gone, and retention has not taken it"
        for number, count in dropped.items():
            assert count == 0 or count <= drops[number]["rows"]

    def _verified_changes(self, header: dict[str, Any]) -> list[bytes]:
        links = [EMPTY]
        found = []
        for line, data in zip(self.lines, self.data, strict=True):
            if line["type"] in CHANGES:
                found.append((line["seq"], bytes.fromhex(line["leaf"]) if line["type"] == "forgotten" else leaf(data)))
        assert [seq for seq, _ in sorted(found)] == list(range(1, header.get("changes", 0) + 1))
        for _, each in sorted(found):
            links.append(node(links[-1], each))
        assert header["changes_hash"] == (links[-1].hex() if found else "")
        return links
