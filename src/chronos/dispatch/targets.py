"""What is the same for all deliveries to a target is made once: found by the object, or else by its bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from chronos.model.target import HttpTarget, ProcessTarget, Target

KEPT_MAX = 20_000
KEPT_BYTES_MAX = 4 * 1024
"""Larger targets are not kept: a few thousand of them would be most of a process's memory."""

PASSED_MAX = 4 * KEPT_MAX
"""When so many have found no room, those that have it may be of no use any more: all start afresh."""

T = TypeVar("T")

encode_target = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(HttpTarget | ProcessTarget).decode


class _Kept(Generic[T]):
    """Things by the bytes of their target. Who comes when it is full is not kept, so that a few too many targets cost
    the few their place, and not all of them."""

    def __init__(self) -> None:
        self.by_bytes: dict[bytes, T] = {}
        self._passed = 0

    def keep(self, encoded: bytes, made: T) -> bool:
        """Keep it if there is room; returns whether there was."""
        if len(encoded) > KEPT_BYTES_MAX:
            return False
        if len(self.by_bytes) >= KEPT_MAX:
            self._passed += 1
            if self._passed < PASSED_MAX:
                return False
            self._passed = 0
            self.by_bytes.clear()
        self.by_bytes[encoded] = made
        return True


class ByTarget(Generic[T]):
    """Makes something of a target, and has it ready for the next delivery to the same.

    Args:
        make: Makes it; what it makes serves every target with the same bytes. Where it returns None nothing is kept,
            the target neither: one with a secret in it, say.
    """

    def __init__(self, make: Callable[[Target], T | None]) -> None:
        self._make = make
        self._kept: _Kept[tuple[Target, T]] = _Kept()
        self._by_object: dict[int, tuple[Target, T]] = {}

    def of(self, target: Target) -> T | None:
        """Return what was made of this target, or of one with the same bytes; None where nothing is made of it."""
        found = self._by_object.get(id(target))
        if found is not None and found[0] is target:  # who is kept keeps its id
            return found[1]
        encoded = encode_target(target)
        found = self._kept.by_bytes.get(encoded)
        if found is None:
            made = self._make(target)
            if made is None:
                return None
            found = (target, made)
            if self._kept.keep(encoded, found):
                if len(self._by_object) >= len(self._kept.by_bytes):
                    self._by_object.clear()  # the others were forgotten
                self._by_object[id(target)] = found
        return found[1]


class Targets:
    """Targets by their bytes: those that are the same become one object, which `ByTarget` finds at once."""

    def __init__(self) -> None:
        self._kept: _Kept[Target] = _Kept()

    def of(self, encoded: bytes) -> Target:
        """Return the target with these bytes.

        Raises:
            msgspec.MsgspecError: They are no target's.
        """
        target = self._kept.by_bytes.get(encoded)
        if target is None:
            target = _decode(encoded)
            self._kept.keep(encoded, target)
        return target
