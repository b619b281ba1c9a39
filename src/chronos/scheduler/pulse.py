"""Whether planning truly goes on, for those who tell the outside world."""

from __future__ import annotations

from collections.abc import Callable


class Pulse:
    """Offered to features as a capability. A process that answers and plans nothing has none.

    Args:
        asks: Each says, as a sentence for people, why nothing is planned; empty while it knows of nothing.
        is_leaving: Whether the node was asked to stop: that nothing is planned then is no trouble.
    """

    def __init__(self, *asks: Callable[[], str], is_leaving: Callable[[], bool] = lambda: False) -> None:
        self._asks = asks
        self.is_leaving = is_leaving

    def trouble(self) -> str:
        """Return why nothing is planned now, or not to be relied on; empty while planning goes on."""
        return next((text for ask in self._asks if (text := ask())), "")
