"""Keys in files. A file that others may read is refused, as ssh does with its keys."""

from __future__ import annotations

import stat
from pathlib import Path

from chronos.errors import Invalid

KEY_BYTES_MAX = 4_096
PASSPHRASE_CHARS_MIN, PASSPHRASE_BYTES_MAX = 12, 4_096
ADMIN_KEY_NAMES = ("admin.key", "keys/admin.key")


def read_key(path: Path) -> str:
    """Return the key in a file.

    Raises:
        Invalid: There is no such file, others may read it, or there is no key in it.
    """
    check_private(path)
    try:
        text = path.read_text("utf-8")[:KEY_BYTES_MAX].strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise Invalid(f"The API key in {path} cannot be read: {_why(exc)}.") from exc
    if not text or len(text.split()) != 1:
        raise Invalid(f"{path} has to hold one API key and nothing else.")
    return text


def admin_key(data_dir: Path) -> str:
    """Return the admin key that the server wrote into its data folder at its first start.

    Raises:
        Invalid: There is none, or it cannot be read by this user.
    """
    for name in ADMIN_KEY_NAMES:
        if (data_dir / name).exists():
            return read_key(data_dir / name)
    raise Invalid(f"There is no admin.key in {data_dir}; is this the data folder of a server that has been started?")


def read_passphrase(path: Path | None) -> str:
    """Return the passphrase in the first line of a file; empty without one.

    Raises:
        Invalid: There is no such file, others may read it, or the line is too short.
    """
    if path is None:
        return ""
    check_private(path)
    with path.open("rb") as file:
        text = file.read(PASSPHRASE_BYTES_MAX).decode(errors="replace").partition("\n")[0].strip()
    if len(text) < PASSPHRASE_CHARS_MIN:
        raise Invalid(f"The first line of {path} is shorter than {PASSPHRASE_CHARS_MIN} characters.")
    return text


def check_private(path: Path) -> None:
    """See to it that nobody but the owner may read a file.

    Raises:
        Invalid: It is missing, no regular file, or open to others.
    """
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        raise Invalid(f"{path} cannot be read: {_why(exc)}.") from exc
    if not stat.S_ISREG(mode):
        raise Invalid(f"{path} is not a file.")
    if stat.S_IMODE(mode) & 0o077:
        raise Invalid(f"{path} may be read by others; run: chmod 600 {path}")


def _why(exc: Exception) -> str:
    return (getattr(exc, "strerror", None) or str(exc)).lower()
