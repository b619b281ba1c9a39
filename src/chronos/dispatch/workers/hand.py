"""What a worker has been given and has not told the end of."""

from __future__ import annotations

from chronos.dispatch.port import Delivery, Done


class Hand:
    """Deliveries by execution. More than one attempt of an execution is rare, and possible."""

    def __init__(self) -> None:
        self._held: dict[str, list[Delivery]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, execution_id: str) -> bool:
        return execution_id in self._held

    def add(self, deliveries: list[Delivery]) -> None:
        """Remember that they were given."""
        all_held = self._held
        for delivery in deliveries:
            held = all_held.get(delivery.execution_id)
            if held is None:
                all_held[delivery.execution_id] = [delivery]
            else:
                held.append(delivery)
        self._count += len(deliveries)

    def end(self, done: Done) -> bool:
        """Forget the attempt that ended; return whether it was there."""
        held = self._held.get(done.execution_id)
        if held is None:
            return False
        if len(held) == 1 and held[0].attempt == done.attempt:
            del self._held[done.execution_id]
            self._count -= 1
            return True
        left = [delivery for delivery in held if delivery.attempt != done.attempt]
        self._count -= len(held) - len(left)
        self._held[done.execution_id] = left
        return len(left) < len(held)

    def drop(self, execution_id: str) -> list[Delivery]:
        """Forget every attempt of an execution, and return them."""
        held = self._held.pop(execution_id, [])
        self._count -= len(held)
        return held

    def drop_all(self) -> list[Delivery]:
        """Forget everything, and return it."""
        held, self._held, self._count = self._held, {}, 0
        return [delivery for deliveries in held.values() for delivery in deliveries]
