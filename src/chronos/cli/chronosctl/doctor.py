"""What is wrong here, and what to do about it: one function a question, each answering with findings."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from chronos import __version__
from chronos.cli.chronosctl.exits import line_of
from chronos.cli.chronosctl.finding import Finding, Level
from chronos.cli.chronosctl.keyfile import ADMIN_KEY_NAMES, check_private
from chronos.cli.chronosctl.rounds import make_rounds
from chronos.cli.chronosctl.session import Session
from chronos.client import Client
from chronos.client import operations as ops
from chronos.client.exchange import Received
from chronos.errors import ChronosError, Denied, Invalid, Unauthenticated, Unavailable
from chronos.model.formats import check_marker, read_marker

SKEW_S_MAX = 2.0  # the Date header says whole seconds, and the answer was under way
DISK_BYTES_MIN = 1 << 30
BACKUP_DAYS_MAX = 7
_PATIENCE_S = 5.0


Check = Callable[[Session], Iterator[Finding]]


def examine(session: Session) -> Iterator[Finding]:
    """Yield the findings of every check, in an order in which the first bad one is the one to mend first."""
    told: set[str] = set()
    for check in (config_file, key, server, known, data_folder):
        for finding in _guarded(check, session):
            # One broken file makes several checks fail; it is one thing to mend.
            if finding.what not in told:
                told.add(finding.what)
                yield finding


def _guarded(check: Check, session: Session) -> Iterator[Finding]:
    """Yield a check's findings; an error it has a name for is a finding itself."""
    try:
        yield from check(session)
    except ChronosError as exc:
        yield Finding(Level.BAD, line_of(exc))


def config_file(session: Session) -> Iterator[Finding]:
    """Is the configuration file private and readable?"""
    path = session.config_path
    if not path.exists():
        yield Finding(Level.GOOD, f"no configuration file ({path}); flags and environment count")
        return
    check_private(path)
    found = session.contexts
    used = found.current or "none"
    yield Finding(Level.GOOD, f"configuration file {path}: {len(found.contexts)} contexts, {used} in use")
    if session.flag_server and session.context.server and session.flag_server != session.context.server:
        yield Finding(Level.WARNING, f"--server goes before the context's server {session.context.server}")


def key(session: Session) -> Iterator[Finding]:
    """Is there a key to show?"""
    if session.api_key is None:
        yield Finding(Level.GOOD, "no API key; that is enough for a server without authentication")
    else:
        yield Finding(Level.GOOD, f"an API key of {len(session.api_key)} characters is at hand")


def server(session: Session) -> Iterator[Finding]:
    """Does the server answer, is it ready, do the clocks agree? Needs no key."""
    yield from _proxy(session)
    with session.connect(anonymous=True, tries_max=1, timeout_s=_PATIENCE_S) as client:
        try:
            health = client.receive(ops.health())
        except Unavailable as exc:
            yield Finding(Level.BAD, f"{session.server} does not answer: {exc}", _unreachable_advice(session))
            return
        yield Finding(Level.GOOD, f"{session.server} answers")
        yield from _version(health)
        yield from _skew(health, session)
        yield from _ready(client)


def known(session: Session) -> Iterator[Finding]:
    """Does the server know us, and what does it say to those whom it knows?"""
    with session.connect(tries_max=1, timeout_s=_PATIENCE_S) as client:
        try:
            yield from _known(client, session)
        except Unavailable:
            return  # that the server does not answer was said before


def _proxy(session: Session) -> Iterator[Finding]:
    names = [name for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") if _environ(session, name)]
    if names:
        yield Finding(Level.GOOD, f"{', '.join(names)} set; chronosctl connects directly all the same")


def _environ(session: Session, name: str) -> str:
    return session.environ.get(name) or session.environ.get(name.lower()) or ""


def _unreachable_advice(session: Session) -> str:
    port = urlsplit(session.server).port or 80
    return f"Start it with `chronos server --http-address 127.0.0.1:{port}`, or name another with --server."


def _version(health: Received) -> Iterator[Finding]:
    import msgspec

    try:
        theirs = msgspec.json.decode(health.body).get("version")
    except (msgspec.DecodeError, AttributeError):
        yield Finding(Level.BAD, "what answers there is no Chronos server", "Check the address and the port.")
        return
    if theirs and theirs != __version__:
        yield Finding(Level.WARNING, f"the server is version {theirs}, this is {__version__}", "Use the same version.")
    else:
        yield Finding(Level.GOOD, f"server and client are version {__version__}")


def _skew(health: Received, session: Session) -> Iterator[Finding]:
    try:
        theirs = parsedate_to_datetime(health.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return
    skew_s = session.clock.time() - theirs
    if -SKEW_S_MAX <= skew_s <= SKEW_S_MAX:
        yield Finding(Level.GOOD, "this machine's clock and the server's agree to two seconds")
        return
    ahead = "ahead of" if skew_s > 0 else "behind"
    yield Finding(
        Level.WARNING,
        f"this machine's clock is {abs(skew_s):.0f} s {ahead} the server's",
        "See which one is wrong: `timedatectl` there and here; jobs fire by the server's.",
    )


def _ready(client: Client) -> Iterator[Finding]:
    try:
        client.receive(ops.ready())
    except Unavailable as exc:
        yield Finding(Level.BAD, f"the server takes no requests: {exc}", "Its log says why; a start takes seconds.")
    else:
        yield Finding(Level.GOOD, "the server is ready")


def _known(client: Client, session: Session) -> Iterator[Finding]:
    try:
        who = client.whoami()
    except Unauthenticated:
        advice = "Set CHRONOS_API_KEY, or give --api-key-file FILE, or on the server's machine --data-dir DIR."
        what = "the server does not know this API key" if session.api_key else "the server wants an API key"
        yield Finding(Level.BAD, what, advice)
        return
    except Denied as exc:
        yield Finding(Level.BAD, f"the server lets this key do nothing: {exc}", "Ask for a key with `job:read`.")
        return
    yield Finding(Level.GOOD, f"the server takes you for {who.id} {who.name}".rstrip())
    yield from _zones(client)
    yield from _clock(client)
    yield from make_rounds(client, session)


def _zones(client: Client) -> Iterator[Finding]:
    from chronos.timing.zone import tzdata_version

    status = client.cluster_status()
    ours, theirs = tzdata_version(), status.get("tzdata_version") or status.get("tzdata")
    if theirs is None:
        yield Finding(Level.GOOD, f"time zone rules here: {ours} (the server does not say its own)")
    elif theirs == ours:
        yield Finding(Level.GOOD, f"time zone rules are {ours} here and there")
    else:
        advice = "What `chronosctl schedule` says may differ; the server's rules decide. Update the older one."
        yield Finding(Level.WARNING, f"time zone rules are {ours} here and {theirs} on the server", advice)


def _clock(client: Client) -> Iterator[Finding]:
    try:
        clock = client.call(ops.clock())
    except Denied:
        return
    if clock.get("held"):
        yield Finding(Level.BAD, "the server does not trust its clock", "Set it right, then `chronosctl clock accept`.")
    elif clock.get("silent_until"):
        what = f"the server's clock was set back; nothing fires until {clock['silent_until']}"
        yield Finding(Level.BAD, what, "Set the clock right, or give up what was decided: `chronosctl clock reset`.")
    else:
        yield Finding(Level.GOOD, "the server trusts its clock")


def data_folder(session: Session) -> Iterator[Finding]:
    """Is the data folder on this machine private, and is there room on its disk?"""
    if not session.data_dir:
        return
    folder = Path(session.data_dir)
    if not folder.is_dir():
        raise Invalid(f"There is no data folder {folder}; --data-dir names the one the server was started with.")
    yield from _folder_mode(folder)
    yield from _format(folder)
    yield from _disk(folder)
    yield from _backup(folder, session)


def _folder_mode(folder: Path) -> Iterator[Finding]:
    info = folder.stat()
    if stat.S_IMODE(info.st_mode) & 0o077:
        yield Finding(Level.WARNING, f"others may look into {folder}", f"chmod 700 {folder}")
    else:
        yield Finding(Level.GOOD, f"{folder} is private")
    if info.st_uid != os.geteuid():
        yield Finding(Level.WARNING, f"{folder} belongs to another user (uid {info.st_uid})", "Look as that user.")
    for name in ADMIN_KEY_NAMES:
        if (folder / name).exists():
            check_private(folder / name)
            yield Finding(Level.GOOD, f"{folder / name} is private")


def _format(folder: Path) -> Iterator[Finding]:
    try:
        marker = read_marker(folder)
    except PermissionError:
        return  # that it belongs to another user was said before
    if marker is None:
        yield Finding(Level.GOOD, f"{folder} does not say its format: the first release wrote it, or nobody yet")
        return
    check_marker(folder, marker)
    if marker.upgrading_from:
        advice = "Start the server: it goes on where it was."
        yield Finding(Level.WARNING, f"{folder} is in the middle of an upgrade to format {marker.format}", advice)
    else:
        yield Finding(Level.GOOD, f"{folder} is of format {marker.format}, which this release reads")


def _backup(folder: Path, session: Session) -> Iterator[Finding]:
    import msgspec

    advice = f"chronos backup FILE --data-dir {folder} --passphrase-file PASS, and every night from now on"
    try:
        taken_us = msgspec.json.decode((folder / "last-backup.json").read_bytes())["taken_us"]
        days = max(0.0, session.clock.time() - taken_us / 1e6) / 86_400
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        yield Finding(Level.WARNING, f"no backup of {folder} was ever taken", advice)
        return
    if days > BACKUP_DAYS_MAX:
        yield Finding(Level.WARNING, f"the last backup of {folder} is {days:.0f} days old", advice)
    else:
        yield Finding(Level.GOOD, f"the last backup of {folder} is {days * 24:.0f} hours old")


def _disk(folder: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(folder)
    free = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.0f} GB are free on the disk of {folder}"
    if usage.free < DISK_BYTES_MIN:
        yield Finding(Level.BAD, free, "Make room: a server with a full disk decides no new runs.")
    else:
        yield Finding(Level.GOOD, free)
