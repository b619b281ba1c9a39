"""Whether a process may run here, and as whom. Pure: what the machine says is passed in."""

from __future__ import annotations

from msgspec import Struct, field

HOW_TO_ENABLE = "set dispatcher.process.enabled: true in the server's configuration to allow them"


class ProcessSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What process targets may do.

    Attributes:
        enabled: Off by default.
        allow_same_user: Lets jobs run as the server's own user: a job can then read whatever the server can, its
            keys and its state included.
        env_allow: Names of the server's environment that targets may ask to be passed on.
        output_kept_bytes: How much of the output an attempt keeps, half from its beginning, half from its end.
        log_bytes_max: How much of the output goes to the execution's log; the program runs on.
    """

    enabled: bool = False
    allow_same_user: bool = False
    env_allow: list[str] = field(default_factory=lambda: ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"])
    output_kept_bytes: int = 64 * 1024
    log_bytes_max: int = 16 * 1024 * 1024


class User(Struct, frozen=True):
    """A system user, as the password database has it."""

    name: str
    uid: int
    gid: int


def why_not(settings: ProcessSettings, server_uid: int, run_as: User | None) -> str | None:
    """Return why a process may not run, for a person; None when it may.

    Args:
        run_as: The user the target names; None when it names none.
    """
    if not settings.enabled:
        return f"process targets are switched off; {HOW_TO_ENABLE}"
    if run_as is not None and run_as.uid == 0:
        return "a process target may not run as root"
    if server_uid == 0:
        return None if run_as is not None else "the server runs as root, so the target must name a user in `run_as`"
    if run_as is not None and run_as.uid != server_uid:
        return f"the server does not run as root, so it cannot start a process as {run_as.name}; leave out `run_as`"
    if not settings.allow_same_user:
        return (
            "the process would run as the server's own user and could read the server's keys; run the server as root "
            "with `run_as` in the target, or accept it with dispatcher.process.allow_same_user: true"
        )
    return None
