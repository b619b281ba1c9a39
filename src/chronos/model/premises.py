"""What guards the doors, and what it has to know of the house. Offered and asked for as capabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from chronos.model.principal import Principal


class Authenticator(Protocol):
    """Says who is asking."""

    async def recognise(self, headers: Mapping[str, str]) -> Principal:
        """Return the principal behind a request's headers (names in lower case).

        Raises:
            Unauthenticated: Nobody we know, and strangers are not let in.
        """
        ...


class Entrance(Protocol):
    """Where others reach this server. Read when it is needed: what the listener says is known late."""

    @property
    def public_url(self) -> str:
        """The base address that the configuration names; empty when it names none."""
        ...

    @property
    def listener_url(self) -> str:
        """The listener's own base address; empty when it listens on every address of the machine."""
        ...


class Premises(Protocol):
    """The server's own secrets and how exposed it is."""

    @property
    def listens_on_loopback(self) -> bool:
        """Whether only this machine can reach the listener."""
        ...

    @property
    def is_insecure_allowed(self) -> bool:
        """Whether the administrator has said `--insecure`."""
        ...

    def key(self, name: str) -> bytes:
        """Return the 256-bit key called `name`, drawn at its first use and kept outside the log."""
        ...

    def keep_once(self, name: str, text: str) -> str:
        """Return the text of the private file `name` in the data folder; write `text` there if there is none."""
        ...
