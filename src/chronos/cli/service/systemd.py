"""The unit of systemd, and the commands that install it."""

from __future__ import annotations

from pathlib import Path

from chronos.cli.service.plan import NAME, WRITTEN_BY, Action, Installation, MakeFolder, RemoveFile, Run, WriteFile

UNIT = f"{NAME}.service"
STATE_DIR = Path("/var/lib") / NAME
"""systemd makes this one by itself, for the service's user."""

# Exit codes after which starting again does not help: a wrong configuration, data of a newer release.
NO_RESTART = "2 65"
WATCHDOG_S = 60
PRIVILEGED_PORTS = 1_024
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))

_UNIT = """\
# Written by `{written_by}`; changed by installing again, or by `systemctl edit {name}`.
[Unit]
Description=Chronos, a scheduler
After=network-online.target time-sync.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
Restart=on-failure
RestartSec=2
RestartPreventExitStatus={no_restart}
TimeoutStartSec=15min
TimeoutStopSec={stop_s}
WatchdogSec={watchdog_s}
# Programs that run may end within the drain; whatever is left then is killed.
KillMode=mixed
OOMPolicy=continue
LimitNOFILE=65536
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
"""

_MACHINE = """\
User={user}
{place}
CapabilityBoundingSet={rights}
AmbientCapabilities={rights}
ProtectSystem=strict
ProtectHome={homes}
PrivateTmp=yes
PrivateDevices=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
SystemCallArchitectures=native
# Whether the kernel's clock is synchronised is read with adjtimex.
SystemCallFilter=@system-service adjtimex clock_adjtime
SystemCallErrorNumber=EPERM
"""

_INSTALL = """
[Install]
WantedBy={wanted_by}
"""


def unit(wanted: Installation) -> str:
    """Return the unit file."""
    head = _UNIT.format(
        written_by=WRITTEN_BY,
        name=NAME,
        command=" ".join(map(quoted, wanted.command)),
        no_restart=NO_RESTART,
        stop_s=wanted.stop_s,
        watchdog_s=WATCHDOG_S,
    )
    machine = "" if wanted.is_personal else _machine(wanted)
    target = "default.target" if wanted.is_personal else "multi-user.target"
    return head + machine + _INSTALL.format(wanted_by=target)


def _machine(wanted: Installation) -> str:
    """Return what only the machine's systemd can keep a service from."""
    if wanted.data_dir == STATE_DIR:
        place = f"StateDirectory={NAME}\nStateDirectoryMode=0700"
    else:
        place = f"ReadWritePaths={quoted(str(wanted.data_dir))}"
    used = [path for path in (wanted.program, wanted.config, wanted.data_dir) if path is not None]
    return _MACHINE.format(
        user=wanted.user,
        place=place,
        rights="CAP_NET_BIND_SERVICE" if 0 < wanted.port < PRIVILEGED_PORTS else "",
        homes="read-only" if any(path.is_relative_to(home) for path in used for home in HOMES) else "yes",
    )


def quoted(word: str) -> str:
    """Return a word as a unit file has it: nothing in it is expanded, and blanks do not part it."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"' if any(letter.isspace() or letter in "\"';" for letter in word) else word


def unit_path(*, is_personal: bool, home: Path) -> Path:
    """Return where the unit belongs."""
    return home / ".config/systemd/user" / UNIT if is_personal else Path("/etc/systemd/system") / UNIT


def to_install(wanted: Installation, found: bytes | None, *, user_exists: bool) -> list[Action]:
    """Return what installs and starts the service; `found` is the unit that is there."""
    data = unit(wanted).encode()
    actions: list[Action] = []
    if wanted.user and not user_exists:
        argv = ["useradd", "--system", "--no-create-home", "--home-dir", str(wanted.data_dir)]
        actions.append(Run([*argv, "--shell", "/usr/sbin/nologin", wanted.user]))
    if wanted.data_dir != STATE_DIR or wanted.is_personal:
        actions.append(MakeFolder(wanted.data_dir, wanted.user))
    if found == data:
        return [*actions, Run(_systemctl(wanted.is_personal, "enable", "--now", UNIT))]
    actions.append(WriteFile(unit_path(is_personal=wanted.is_personal, home=wanted.home), data))
    actions.append(Run(_systemctl(wanted.is_personal, "daemon-reload")))
    actions.append(Run(_systemctl(wanted.is_personal, "enable", UNIT)))
    # `restart` starts what does not run, and lets what runs take the new unit.
    actions.append(Run(_systemctl(wanted.is_personal, "restart", UNIT)))
    return actions


def to_uninstall(*, is_personal: bool, home: Path) -> list[Action]:
    """Return what stops the service and takes it away."""
    return [
        Run(_systemctl(is_personal, "disable", "--now", UNIT), may_fail=True),
        RemoveFile(unit_path(is_personal=is_personal, home=home)),
        Run(_systemctl(is_personal, "daemon-reload")),
    ]


def asking(*, is_personal: bool) -> tuple[list[str], list[str]]:
    """Return the commands that say whether it starts by itself, and whether it runs."""
    return _systemctl(is_personal, "is-enabled", UNIT), _systemctl(is_personal, "is-active", UNIT)


def _systemctl(is_personal: bool, *words: str) -> list[str]:
    return ["systemctl", *(["--user"] if is_personal else []), *words]
