"""What an administrator says about secrets."""

from __future__ import annotations

from msgspec import Struct, field

ENV_PREFIX = "CHRONOS_SECRET_"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where references may look.

    Attributes:
        env_prefixes: Variables of the server's environment whose name begins so may be referred to.
        env_names: Single variables that may be, too.
        directory: The folder `${secret:file:NAME}` reads from; None turns files off.
        file_bytes_max: Larger files are refused.
    """

    env_prefixes: list[str] = field(default_factory=lambda: [ENV_PREFIX])
    env_names: list[str] = field(default_factory=list)
    directory: str | None = None
    file_bytes_max: int = 64 * 1024
