"""What features offer: to deliveries, and to each other. The same in every process that installs features."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from chronos.dispatch.port import AroundDispatch, Dispatcher
from chronos.errors import ConfigInvalid

T = TypeVar("T")


class Offers:
    """The doors of `plugin.Host` that a worker has as well as the main process.

    Attributes:
        dispatchers: By target type.
    """

    nobody: ClassVar[str] = "No feature offers {name}."
    """What is said about a capability, `{name}`, that is not there."""

    def __init__(self) -> None:
        self.dispatchers: dict[str, Dispatcher] = {}
        self._arounds: list[tuple[int, AroundDispatch]] = []
        self._capabilities: dict[Any, Any] = {}

    @property
    def arounds(self) -> list[AroundDispatch]:
        """The wrappers of every delivery, outermost first."""
        return [around for _, around in sorted(self._arounds, key=lambda pair: pair[0])]

    def around_dispatch(self, around: AroundDispatch, *, order: int = 50) -> None:
        self._arounds.append((order, around))

    def dispatcher(self, kind: str, dispatcher: Dispatcher) -> None:
        if kind in self.dispatchers:
            raise ConfigInvalid(f"Two features deliver targets of type `{kind}`.")
        self.dispatchers[kind] = dispatcher

    def provide(self, protocol: type[T], implementation: T) -> None:
        if protocol in self._capabilities:
            raise ConfigInvalid(f"Two features offer {protocol.__name__}.")
        self._capabilities[protocol] = implementation

    def require(self, protocol: type[T]) -> T:
        if protocol not in self._capabilities:
            raise ConfigInvalid(self.nobody.format(name=protocol.__name__))
        implementation: T = self._capabilities[protocol]
        return implementation
