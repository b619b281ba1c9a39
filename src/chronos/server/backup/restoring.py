"""From a backup to a data folder: checked, laid out beside its place, begun anew, and only then given its name."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from chronos.cluster.local import LocalLog
from chronos.cluster.logcopy import chained, entries_in, write_log
from chronos.cluster.logfile import Fork
from chronos.errors import Conflict, Invalid, LogDamaged, NotFound, StorageFull, Unprocessable
from chronos.failpoints import reach
from chronos.model.backupfile import BackupDamaged, Frame, decode
from chronos.server.backup.epoch import Begun, begin_epoch
from chronos.server.backup.manifest import LOG, Manifest, unpack
from chronos.server.backup.saving import OnBytes
from chronos.store.commands import decode_entry
from chronos.store.copying import HISTORY, STATE
from chronos.store.datafolder import FOLDERS
from chronos.store.sqlite import SqliteState
from chronos.store.sqlitefile import translated
from chronos.store.upgrade import bring_up
from chronos.timing.clock import Chance, Clock, utc
from chronos.wholefile import sync_folder

_SPARE_BYTES = 64 << 20


class FolderTaken(Conflict):
    """There is something in the folder that is to be restored into."""


class NotReached(Unprocessable):
    """The backup does not reach back to that instant."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What to restore.

    Attributes:
        backup: The file; its log is what is folded, up to `as_of_us`.
        base: An older backup of the same log to begin from, for instants before the other's own state.
        as_of_us: Log time up to which entries count; None takes all of them.
    """

    backup: Path
    folder: Path
    passphrase: str = ""
    base: Path | None = None
    as_of_us: int | None = None
    dry_run: bool = False


class Report(Struct, frozen=True, kw_only=True):
    """What was restored. Instants are RFC 3339, UTC.

    Attributes:
        as_of: What planning goes on from: what is due since counts as missed.
        entries_left_out: How many entries of the backup's log are later than that.
        restore_epoch: The first number of fencing tokens from now on; higher than any before.
        missed: How many planned instants lie between `as_of` and now, and how many of them will run.
        keys: Whether the keys were in the backup; without them sealed credentials have to be written again.
        reaches_back_to: The earliest `--as-of` that this backup alone can be restored to.
    """

    backup: str
    folder: str
    dry_run: bool
    taken_at: str
    version: str
    as_of: str
    last_entry: int
    entries_left_out: int
    jobs: int
    open_executions: int
    restore_epoch: int
    high_water_mark: str
    missed: int
    missed_will_run: int
    keys: bool
    reaches_back_to: str


async def restore(wanted: Wanted, clock: Clock, chance: Chance, on_bytes: OnBytes = lambda _: None) -> Report:
    """Make `wanted.folder` out of a backup, whole or not at all, and return what became of it.

    Raises:
        NotFound: There is no such backup.
        FolderTaken: The folder is not empty.
        BackupForeign, BackupDamaged, FormatUnreadable, PassphraseWrong: The backup cannot be used.
        NotReached: It does not reach back to `as_of_us`.
        StorageFull: There is no room.
    """
    _check(wanted, clock)
    with _beside(wanted) as place:
        plan = _lay_out(wanted, place, int(clock.time() * 1e6), on_bytes)
        begun = await _begin(wanted, plan, place, clock, chance)
        reach("restore.before-rename")
        if not wanted.dry_run:
            _give_name(place, wanted.folder)
    return _report(wanted, plan, begun)


class _Plan(Struct, frozen=True, kw_only=True):
    """How far a backup is to be folded: up to its entry `last`."""

    manifest: Manifest
    last: int


def _check(wanted: Wanted, clock: Clock) -> None:
    for path in filter(None, (wanted.backup, wanted.base)):
        if not path.is_file():
            raise NotFound(f"There is no backup {path}.")
    if wanted.as_of_us is not None and wanted.as_of_us > clock.time() * 1e6:
        raise Invalid("--as-of lies in the future; nothing would run until then.", field="as-of")
    folder = wanted.folder
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise FolderTaken(f"{folder} is not a folder.")
    if folder.is_dir() and any(folder.iterdir()) and not wanted.dry_run:
        raise FolderTaken(
            f"{folder} is not empty. Move it aside (it may be wanted yet), or give another --data-dir.",
            folder=str(folder),
        )
    if os.path.ismount(folder):
        raise FolderTaken(f"{folder} is a mount point and cannot be put in place at once; give a folder inside it.")
    if not folder.absolute().parent.is_dir():
        raise Invalid(f"{folder.absolute().parent} does not exist; make it first.")


@contextmanager
def _beside(wanted: Wanted) -> Iterator[Path]:
    """Yield a data folder with nothing in it, beside the one that is wanted; what is left of it goes in the end."""
    folder = wanted.folder.absolute()
    yard = folder.with_name(f".{folder.name}.restoring")
    with translated(yard), _locked(yard, folder):
        place = yard / "data"
        shutil.rmtree(place, ignore_errors=True)  # left by somebody who was killed
        _check_room(wanted, yard)
        for name in ("", *FOLDERS):
            (place / name).mkdir(mode=0o700)
        try:
            yield place
        finally:
            shutil.rmtree(yard, ignore_errors=True)


@contextmanager
def _locked(yard: Path, folder: Path) -> Iterator[None]:
    yard.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(yard / "LOCK", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise FolderTaken(f"Another restore into {folder} is under way.") from None
    finally:
        os.close(lock)


def _check_room(wanted: Wanted, place: Path) -> None:
    # The log is there twice for a moment, as a stream and as a file.
    needed = 2 * wanted.backup.stat().st_size + (wanted.base.stat().st_size if wanted.base else 0) + _SPARE_BYTES
    free = shutil.disk_usage(place).free
    if free < needed:
        raise StorageFull(f"{needed:,} bytes are needed beside {wanted.folder}, and {free:,} are free.")


def _lay_out(wanted: Wanted, place: Path, now_us: int, on_bytes: OnBytes) -> _Plan:
    manifest = _unpack(wanted.backup, wanted.passphrase, place, on_bytes)
    bring_up(place)  # before anything of it is opened
    plan = _plan(wanted, manifest, place, on_bytes)
    forks = list(manifest.forks)
    if plan.last < manifest.last:
        forks.append(Fork(plan.last, manifest.last, plan.last + 1, now_us))
    with (place / LOG).open("rb") as file:
        entries = (entry for entry in entries_in(file) if entry.index <= plan.last)
        write_log(place / "log" / "log.db", manifest.first - 1, bytes.fromhex(manifest.base_hash), entries, forks)
    (place / LOG).unlink()
    return plan


def _plan(wanted: Wanted, manifest: Manifest, place: Path, on_bytes: OnBytes) -> _Plan:
    """Find out how far to fold, and from where; put the state and the history in place that this begins with."""
    plan = _Plan(manifest=manifest, last=_last_wanted(place / LOG, manifest, wanted.as_of_us))
    if plan.last >= manifest.state_entry:
        return plan
    if wanted.base is not None:
        _forget_state(place)
        _take_base(wanted, plan, place, on_bytes)
        return plan
    if manifest.first == 1 and plan.last > 0:
        _forget_state(place)
        return plan
    raise _not_reached(manifest)


def _not_reached(manifest: Manifest) -> NotReached:
    back_to = _stamp(_reaches_back_us(manifest))
    if manifest.first == 1:
        return NotReached(f"The log's first entry is of {back_to}: there was nothing before.", reaches_back_to=back_to)
    return NotReached(
        f"This backup reaches back to {back_to}. For an earlier instant give the last backup from before it as --base "
        "OLDER; the log of this one has to go on from there.",
        reaches_back_to=back_to,
    )


def _last_wanted(path: Path, manifest: Manifest, as_of_us: int | None) -> int:
    """Verify the chain of the log, and return the last entry that counts.

    Raises:
        BackupDamaged: The log is not the one that the manifest tells of.
    """
    base, base_hash = manifest.first - 1, bytes.fromhex(manifest.base_hash)
    last, end = base, (base, manifest.base_hash)
    with path.open("rb") as file:
        for entry, hashed in chained(entries_in(file), base, base_hash):
            end = (entry.index, hashed.hex())
            if as_of_us is None or decode_entry(entry.data).time_us <= as_of_us:
                last = entry.index
    if end != (manifest.last, manifest.last_hash):
        raise BackupDamaged("The log in this backup is not the one that it says it has.")
    return last


def _take_base(wanted: Wanted, plan: _Plan, place: Path, on_bytes: OnBytes) -> None:
    """Lay out the state and the history of an older backup, from which this one's log goes on.

    Raises:
        NotReached: It does not go on from there, or the older backup is too new.
    """
    assert wanted.base is not None
    base = _unpack(wanted.base, wanted.passphrase, place, on_bytes, only=(STATE, HISTORY))
    if base.state_entry > plan.last:
        raise NotReached(f"{wanted.base} reaches back to {_stamp(base.state_us)} only; give an older one.")
    if _hash_at(place / LOG, plan.manifest, base.last) != base.last_hash:
        raise NotReached(
            f"The log of {wanted.backup} does not go on from where {wanted.base} ends (entry {base.last}): it begins "
            f"at entry {plan.manifest.first}, or is another server's."
        )


def _hash_at(path: Path, manifest: Manifest, index: int) -> str:
    if index == manifest.first - 1:
        return manifest.base_hash
    with path.open("rb") as file:
        entries = chained(entries_in(file), manifest.first - 1, bytes.fromhex(manifest.base_hash))
        return next((hashed.hex() for entry, hashed in entries if entry.index == index), "")


def _forget_state(place: Path) -> None:
    (place / STATE).unlink()
    shutil.rmtree(place / HISTORY)
    (place / HISTORY).mkdir(mode=0o700)


def _unpack(path: Path, passphrase: str, into: Path, on_bytes: OnBytes, only: tuple[str, ...] = ()) -> Manifest:
    try:
        with path.open("rb") as file:
            frames = _midway(decode(_counted(file.read, on_bytes), passphrase=passphrase, path=path))
            return unpack(frames, into, wanted=lambda name: not only or name.partition("/")[0] in only)
    except FileExistsError as exc:
        raise BackupDamaged("The backup names a file twice.") from exc
    except (LogDamaged, IsADirectoryError) as exc:
        raise BackupDamaged from exc


def _midway(frames: Iterator[Frame]) -> Iterator[Frame]:
    for frame in frames:
        yield frame
        reach("restore.midway")


def _counted(read: Callable[[int], bytes], on_bytes: OnBytes) -> Callable[[int], bytes]:
    total = 0

    def counted(count: int) -> bytes:
        nonlocal total
        found = read(count)
        total += len(found)
        on_bytes(total)
        return found

    return counted


async def _begin(wanted: Wanted, plan: _Plan, place: Path, clock: Clock, chance: Chance) -> Begun:
    # Later than all that the backup knows: what was due in between is given up, because that is what was asked for.
    later = wanted.as_of_us is not None and wanted.as_of_us > plan.manifest.log_us
    hwm_s = (wanted.as_of_us or 0) // 1_000_000 if later else 0
    return await begin_epoch(LocalLog(place / "log"), SqliteState(place), clock, chance, hwm_s=hwm_s)


def _give_name(place: Path, folder: Path) -> None:
    """Make everything durable, and put the folder in its place in one step."""
    for path in place.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        elif path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(place)
    try:
        place.rename(folder)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
            raise
        raise FolderTaken(f"{folder} was taken meanwhile, or cannot be replaced: {exc.strerror}.") from exc
    sync_folder(folder.absolute().parent)


def _report(wanted: Wanted, plan: _Plan, begun: Begun) -> Report:
    manifest = plan.manifest
    return Report(
        backup=str(wanted.backup),
        folder=str(wanted.folder),
        dry_run=wanted.dry_run,
        taken_at=_stamp(manifest.taken_us),
        version=manifest.version,
        as_of=_stamp(manifest.log_us if wanted.as_of_us is None else wanted.as_of_us),
        last_entry=plan.last,
        entries_left_out=manifest.last - plan.last,
        jobs=begun.jobs,
        open_executions=begun.open_executions,
        restore_epoch=begun.restore_epoch,
        high_water_mark=_stamp(begun.hwm_s * 1_000_000) if begun.hwm_s else "",
        missed=begun.missed,
        missed_will_run=begun.will_run,
        keys=manifest.keys,
        reaches_back_to=_stamp(_reaches_back_us(manifest)),
    )


def _reaches_back_us(manifest: Manifest) -> int:
    return manifest.first_us if manifest.first == 1 else manifest.state_us


def _stamp(us: int) -> str:
    return utc(us // 1_000_000).strftime("%Y-%m-%dT%H:%M:%SZ")
