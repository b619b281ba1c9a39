"""The file a backup is: frames, each checked, and a hash of everything at the end.

    chronos backup 1\\n                    what it is, and the format
    {"needs": "0.1.0", "cipher": "none"}\\n  the first release that reads it, and how it is encrypted
    length, frame   length, frame   …     32-bit lengths; a frame is a kind and a body
    0, BLAKE2b-256                        of every byte before

With a passphrase every frame is sealed with AES-256-GCM under a key that scrypt makes of it, bound to its place and to
the lines at the top, so that frames can neither be changed nor moved, left out or taken from another backup.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import Struct

from chronos.errors import Conflict, Unprocessable
from chronos.model.formats import BACKUP
from chronos.timing.clock import Chance

BODY_BYTES_MAX = 1 << 20
"""What of a file travels in one frame."""

_MAGIC = b"chronos backup "
_FRAME_BYTES_MAX = 64 << 20  # the manifest is one frame
_LINE_BYTES_MAX = 1024
_HASH_BYTES = 32
_SALT_BYTES, _PREFIX_BYTES = 16, 8
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 1 << 16, 8, 1  # 64 MiB and some tenths of a second for every guess
_LENGTH = struct.Struct(">I")

Read = Callable[[int], bytes]
"""Returns as many bytes as it is asked for, fewer only at the end."""


class BackupDamaged(Unprocessable):
    """The backup is not what was written: it was cut short, or changed."""


class BackupForeign(Unprocessable):
    """This is no backup of Chronos."""


class BackupExists(Conflict):
    """There is a file of this name already."""


class PassphraseWrong(Unprocessable):
    """The backup cannot be opened with this passphrase."""


class Kind:
    """What a frame is."""

    FILE = b"F"  # a file begins; the body is its name
    DATA = b"D"  # bytes of it
    END = b"M"  # everything is there; the body is the manifest


class Frame(NamedTuple):
    """A piece of a backup."""

    kind: bytes
    body: bytes


class _Header(Struct, frozen=True):
    needs: str
    cipher: str
    salt: str = ""
    prefix: str = ""


class _Cipher(Protocol):
    def seal(self, number: int, frame: bytes) -> bytes: ...
    def open(self, number: int, sealed: bytes) -> bytes: ...


class _Open:
    """Without a passphrase: as it is."""

    def seal(self, number: int, frame: bytes) -> bytes:
        return frame

    def open(self, number: int, sealed: bytes) -> bytes:
        return sealed


class _Sealed:
    """Every frame under a nonce that says its place."""

    def __init__(self, passphrase: str, header: _Header, bound_to: bytes) -> None:
        derive = Scrypt(bytes.fromhex(header.salt), length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
        self._aead = AESGCM(derive.derive(passphrase.encode()))
        self._prefix = bytes.fromhex(header.prefix)
        self._bound_to = bound_to

    def seal(self, number: int, frame: bytes) -> bytes:
        return self._aead.encrypt(self._nonce(number), frame, self._bound_to)

    def open(self, number: int, sealed: bytes) -> bytes:
        return self._aead.decrypt(self._nonce(number), sealed, self._bound_to)

    def _nonce(self, number: int) -> bytes:
        return self._prefix + number.to_bytes(4, "big")


def encode(frames: Iterable[Frame], *, passphrase: str = "", chance: Chance | None = None) -> Iterator[bytes]:
    """Yield the bytes of a backup; with a passphrase, which needs `chance`, they are encrypted."""
    header = _Header(BACKUP.since, "none")
    if passphrase:
        assert chance is not None, "salt and nonces have to come from somewhere"
        header = _Header(
            BACKUP.since, "aes-256-gcm", chance.bytes(_SALT_BYTES).hex(), chance.bytes(_PREFIX_BYTES).hex()
        )
    head = b"%s%d\n%s\n" % (_MAGIC, BACKUP.current, msgspec.json.encode(header))
    cipher: _Cipher = _Sealed(passphrase, header, head) if passphrase else _Open()
    digest = hashlib.blake2b(head, digest_size=_HASH_BYTES)
    yield head
    for number, frame in enumerate(frames):
        sealed = cipher.seal(number, frame.kind + frame.body)
        piece = _LENGTH.pack(len(sealed)) + sealed
        digest.update(piece)
        yield piece
    digest.update(_LENGTH.pack(0))
    yield _LENGTH.pack(0) + digest.digest()


def decode(read: Read, *, passphrase: str = "", path: Path = Path("backup")) -> Iterator[Frame]:
    """Yield the frames of a backup. What was yielded may be believed only when the iterator has ended well.

    Args:
        path: What to call it.

    Raises:
        BackupForeign: It is no backup.
        FormatUnreadable: A newer release made it.
        BackupDamaged: It was cut short, or changed.
        PassphraseWrong: It is encrypted, and not with this passphrase.
    """
    head, header = _head(read, path)
    digest = hashlib.blake2b(head, digest_size=_HASH_BYTES)
    cipher = _cipher(header, head, passphrase)
    ended, number = False, 0
    while True:
        raw = _exactly(read, _LENGTH.size)
        digest.update(raw)
        (length,) = _LENGTH.unpack(raw)
        if length == 0:
            break
        if ended or length > _FRAME_BYTES_MAX:
            raise BackupDamaged
        sealed = _exactly(read, length)
        digest.update(sealed)
        frame = _opened(cipher, number, sealed)
        ended = frame.kind == Kind.END
        yield frame
        number += 1
    if not ended or _exactly(read, _HASH_BYTES) != digest.digest() or read(1):
        raise BackupDamaged


def _head(read: Read, path: Path) -> tuple[bytes, _Header]:
    start = read(len(_MAGIC))
    if start != _MAGIC:
        raise BackupForeign("This is no backup of Chronos; `chronos backup` makes one.")
    first, second = _line(read), _line(read)
    try:
        header = msgspec.json.decode(second, type=_Header)
        BACKUP.check(path, int(first), header.needs)
    except (msgspec.MsgspecError, ValueError) as exc:
        raise BackupDamaged from exc
    return start + first + second, header


def _line(read: Read) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        line += _exactly(read, 1)
        if len(line) > _LINE_BYTES_MAX:
            raise BackupDamaged
    return bytes(line)


def _cipher(header: _Header, head: bytes, passphrase: str) -> _Cipher:
    if header.cipher == "none":
        return _Open()
    if header.cipher != "aes-256-gcm":
        raise BackupDamaged
    if not passphrase:
        raise PassphraseWrong("This backup is encrypted; give --passphrase-file FILE.")
    try:
        cipher = _Sealed(passphrase, header, head)
    except ValueError as exc:
        raise BackupDamaged from exc
    return cipher


def _opened(cipher: _Cipher, number: int, sealed: bytes) -> Frame:
    try:
        opened = cipher.open(number, sealed)
    except (InvalidTag, ValueError) as exc:
        if number == 0:
            raise PassphraseWrong("The passphrase is not this backup's, or its first bytes were changed.") from exc
        raise BackupDamaged from exc
    return Frame(opened[:1], opened[1:])


def _exactly(read: Read, count: int) -> bytes:
    found = read(count)
    if len(found) != count:
        raise BackupDamaged("The backup ends too early: it was not copied whole.")
    return found


def reader_of(pieces: Iterable[bytes]) -> Read:
    """Return a `Read` over bytes that come in pieces of any size."""
    source, kept = iter(pieces), bytearray()

    def read(count: int) -> bytes:
        while len(kept) < count:
            piece = next(source, b"")
            if not piece:
                break
            kept.extend(piece)
        taken = bytes(kept[:count])
        del kept[:count]
        return taken

    return read
