"""The cable between the hosts: hands frames on, unless an order says otherwise.

    python tests/cluster_faults/switch.py SEED NAME=FD …        each FD an open TAP, host number N has the MAC …:N

Orders come in on standard input, one a line: a JSON list of rules `{from, to, loss, delay_s, spread_s, twice}`, which
takes the place of the one before, and `*` means any host. Each is answered with a line: how many frames were handed on
and how many were lost since the start. The kernel's own netem would do the same; not every kernel has it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from typing import Any, NamedTuple

FRAME_MAX = 1 << 16
TURN_FRAMES = 64
"""So many frames of one host are handed on before another host's turn."""
UNDER_WAY_MAX = 20_000
"""More frames than this are never delayed at a time: what comes then is lost, as in a router without room."""
MAC_BYTES = 6


class Rule(NamedTuple):
    """What happens to frames from one host to another.

    Attributes:
        loss: How many of them are lost, from 0 to 1.
        delay_s: How much later they arrive, at least.
        spread_s: How much later than that, at most; so they overtake each other.
        twice: How many of them arrive twice, from 0 to 1.
    """

    loss: float = 0.0
    delay_s: float = 0.0
    spread_s: float = 0.0
    twice: float = 0.0


class Switch:
    """Reads from every host and writes to those it is for."""

    def __init__(self, taps: dict[str, int], chance: random.Random) -> None:
        self._taps = taps
        self._numbers = dict(enumerate(taps, 1))
        self._chance = chance
        self._rules: dict[tuple[str, str], Rule] = {}
        self._under_way = 0
        self.handed = 0
        self.lost = 0

    def order(self, rules: list[dict[str, Any]]) -> None:
        """Go by these rules from now on; the last that names two hosts counts."""
        self._rules = {}
        for rule in rules:
            sources, sinks = self._hosts(rule.pop("from")), self._hosts(rule.pop("to"))
            for source in sources:
                self._rules.update({(source, sink): Rule(**rule) for sink in sinks if sink != source})

    def _hosts(self, name: str) -> list[str]:
        return list(self._taps) if name == "*" else [name]

    def read(self, source: str) -> None:
        """Hand on what a host has sent, up to a turn's worth."""
        for _ in range(TURN_FRAMES):
            try:
                frame = os.read(self._taps[source], FRAME_MAX)
            except BlockingIOError:
                return
            for sink in self._sinks(frame, source):
                self._pass(frame, source, sink)

    def _sinks(self, frame: bytes, source: str) -> list[str]:
        if frame[0] & 1:  # to all, or to a group
            return [name for name in self._taps if name != source]
        sink = self._numbers.get(frame[MAC_BYTES - 1], source)
        return [] if sink == source else [sink]

    def _pass(self, frame: bytes, source: str, sink: str) -> None:
        rule = self._rules.get((source, sink))
        if rule is None:
            self._write(frame, sink)
            return
        for _ in range(2 if self._chance.random() < rule.twice else 1):
            if self._chance.random() < rule.loss or self._under_way >= UNDER_WAY_MAX:
                self.lost += 1
            elif rule.delay_s or rule.spread_s:
                self._under_way += 1
                later_s = rule.delay_s + self._chance.random() * rule.spread_s
                asyncio.get_running_loop().call_later(later_s, self._arrive, frame, sink)
            else:
                self._write(frame, sink)

    def _arrive(self, frame: bytes, sink: str) -> None:
        self._under_way -= 1
        self._write(frame, sink)

    def _write(self, frame: bytes, sink: str) -> None:
        try:
            os.write(self._taps[sink], frame)
            self.handed += 1
        except OSError:  # the host is not up yet, or has no room
            self.lost += 1


async def serve(switch: Switch, taps: dict[str, int]) -> None:
    """Hand frames on and take orders until standard input ends."""
    loop = asyncio.get_running_loop()
    for name, tap in taps.items():
        os.set_blocking(tap, False)
        loop.add_reader(tap, switch.read, name)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        switch.order(json.loads(line))
        print(json.dumps({"handed": switch.handed, "lost": switch.lost}), flush=True)


if __name__ == "__main__":
    named = {name: int(fd) for name, _, fd in (word.partition("=") for word in sys.argv[2:])}
    asyncio.run(serve(Switch(named, random.Random(int(sys.argv[1]))), named))
