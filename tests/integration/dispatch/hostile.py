"""Targets that mean harm, as a program of its own: one port of loopback for each way to misbehave.

Run as `python hostile.py FOLDER`; prints one line, a JSON object from the name of a way to its port, and plays
until its standard input closes. In a process of its own, what it holds open and in memory is not ours.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import struct
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

Play = Callable[[socket.socket], None]

PATIENCE_S = 30.0
"""The longest a play goes on when nobody hangs up."""

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
MEGABYTE = 1024 * 1024
DRIP_S = 0.05


def asked(connection: socket.socket) -> bytes:
    """Return a request as it came, body and all; empty when the other side has hung up."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := connection.recv(65_536)):
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
    length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
    while len(body) < length:
        if not (piece := connection.recv(65_536)):
            return b""
        body += piece
    return data


def says(*pieces: bytes) -> Play:
    """Answer one request with `pieces`, then close."""

    def play(connection: socket.socket) -> None:
        if asked(connection):
            connection.sendall(b"".join(pieces))

    return play


def keeps_saying(first: bytes, then: bytes, pause_s: float = 0.0) -> Play:
    """Answer with `first`, and then with `then` over and over."""

    def play(connection: socket.socket) -> None:
        if asked(connection):
            connection.sendall(first)
            for piece in until_tired(then):
                connection.sendall(piece)
                if pause_s:
                    time.sleep(pause_s)

    return play


def drips(text: bytes) -> Play:
    """Answer a byte at a time, slowly, and begin again when it is all said."""

    def play(connection: socket.socket) -> None:
        if asked(connection):
            for n, _ in enumerate(until_tired(b"")):
                connection.sendall(text[n : n + 1] if n < len(text) else b"x")
                time.sleep(DRIP_S)

    return play


def until_tired(piece: bytes) -> Iterator[bytes]:
    ends = time.monotonic() + PATIENCE_S
    for each in repeat(piece):
        if time.monotonic() > ends:
            return
        yield each


def slams(after: bytes, *, listens: bool = True) -> Play:
    """Answer with `after`, then reset the connection."""

    def play(connection: socket.socket) -> None:
        if listens:
            asked(connection)
        if after:
            connection.sendall(after)
            time.sleep(DRIP_S)  # a reset overtakes what is still on its way
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return play


def silent(connection: socket.socket) -> None:
    """Accept, listen, and say nothing."""
    connection.settimeout(PATIENCE_S)
    while connection.recv(65_536):
        pass


def deaf(connection: socket.socket) -> None:
    """Accept, and neither listen nor speak."""
    time.sleep(3)


def keeps_alive(*answers: bytes) -> Play:
    """Answer each request of a connection with the next of `answers`, then close."""

    def play(connection: socket.socket) -> None:
        for answer in answers:
            if not asked(connection):
                return
            connection.sendall(answer)

    return play


def packed(encoding: bytes, body: bytes) -> Play:
    return says(OK, b"Content-Encoding: ", encoding, b"\r\nContent-Length: %d\r\n\r\n" % len(body), body)


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def encrypted(folder: Path, certificate: str, then: Play, *, old: bool = False) -> Play:
    """Shake hands with `certificate`, then do as `then` does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / certificate)
    if old:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it is deprecated, and that is the point
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1

    def play(connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        with context.wrap_socket(connection.dup(), server_side=True) as secure:
            then(secure)

    return play


def garbage_under_tls(folder: Path) -> Play:
    """Shake hands, take the request, and go on without encryption."""

    def play(connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "good.pem")
        secure = context.wrap_socket(connection.dup(), server_side=True)
        asked(secure)
        connection.sendall(OK + b"Content-Length: 2\r\n\r\nok")

    return play


def bomb(size: int) -> bytes:
    return bytes(size)


PLAIN: dict[str, Play] = {
    "silent": silent,
    "deaf": deaf,
    "drips a status line": drips(OK + b"Content-Length: 2\r\n\r\nok"),
    "drips a header": keeps_saying(OK + b"X: ", b"x", DRIP_S),
    "drips a body": keeps_saying(OK + b"Content-Length: 100000\r\n\r\n", b"x", DRIP_S),
    "drips chunks": keeps_saying(CHUNKED, b"1\r\nx\r\n", DRIP_S),
    "drips informational answers": keeps_saying(b"", b"HTTP/1.1 103 Early\r\n\r\n", 0.2),
    "endless status line": keeps_saying(b"HTTP/1.1 200 ", b"x" * 4096),
    "endless header": keeps_saying(OK + b"X: ", b"x" * 4096),
    "endless headers": keeps_saying(OK, b"X: y\r\n" * 100),
    "endless blank lines": keeps_saying(b"", b"\r\n" * 2048),
    "endless informational answers": keeps_saying(b"", b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" * 20),
    "101 headers": says(OK, b"".join(b"X-%d: y\r\n" % n for n in range(101)), b"\r\n"),
    "endless body": keeps_saying(OK + b"Content-Length: 99999999999\r\n\r\n", b"x" * 65_536),
    "endless body without a length": keeps_saying(OK + b"\r\n", b"x" * 65_536),
    "endless chunks": keeps_saying(CHUNKED, b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
    "endless tiny chunks": keeps_saying(CHUNKED, b"1\r\nx\r\n" * 4096),
    "endless chunk extension": keeps_saying(CHUNKED + b"5;", b"e" * 65_536),
    "endless chunk size": keeps_saying(CHUNKED, b"0" * 65_536),
    "endless trailers": keeps_saying(CHUNKED + b"0\r\n", b"T: t\r\n" * 4096),
    "gzip bomb": packed(b"gzip", gzip.compress(bomb(64 * MEGABYTE))),
    "gzip bomb in a gzip bomb": packed(b"gzip", gzip.compress(gzip.compress(bomb(64 * MEGABYTE)))),
    "gzip twice over": packed(b"gzip, gzip", gzip.compress(gzip.compress(bomb(64 * MEGABYTE)))),
    "gzip in many members": packed(b"gzip", gzip.compress(b"") * 50_000),
    "gzip with a tail": packed(b"gzip", gzip.compress(b"hello") + b"x" * MEGABYTE),
    "deflate bomb": packed(b"deflate", zlib.compress(bomb(64 * MEGABYTE), 9)),
    "bare deflate bomb": packed(b"deflate", bare_deflate(bomb(64 * MEGABYTE))),
    "broken gzip": packed(b"gzip", b"\x1f\x8b\x08\x00 this is none"),
    # These two are kept packed whatever is in them, so a few bytes that look right will do.
    "brotli": packed(b"br", b"\xcf\xff\xff\x7f\xf8\x27\x00\x80" * 100),
    "zstandard": packed(b"zstd", b"\x28\xb5\x2f\xfd\x04\x58\x54\x00\x00\x10" * 100),
    "unknown packing": packed(b"x" * 300, b"hello"),
    "chunk of no number": says(CHUNKED, b"xyz\r\nhello\r\n0\r\n\r\n"),
    "chunk of a negative number": says(CHUNKED, b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk of a huge number": says(CHUNKED, b"FFFFFFFFFFFFFFFFF\r\nhello\r\n"),
    "chunk without an end": says(CHUNKED, b"5\r\nhelloGARBAGE\r\n0\r\n\r\n"),
    "two lengths": says(OK, b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    "two lengths in a list": says(OK, b"Content-Length: 5, 6\r\n\r\nhello!"),
    "negative length": says(OK, b"Content-Length: -5\r\n\r\nhello"),
    "length of no number": says(OK, b"Content-Length: five\r\n\r\nhello"),
    "length and chunks": keeps_alive(
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"Content-Length: 6\r\n\r\nsecond",
    ),
    "unknown transfer encoding": says(OK, b"Transfer-Encoding: gzip\r\n\r\nhello"),
    "more than its length": keeps_alive(
        OK + b"Content-Length: 5\r\n\r\nhello" + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nleft",
        b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
    ),
    "resets at once": slams(b"", listens=False),
    "resets when asked": slams(b""),
    "resets inside the headers": slams(OK + b"X-Half: "),
    "resets inside the body": slams(OK + b"Content-Length: 100\r\n\r\nonly this"),
    "closes when asked": says(),
    "closes inside the status line": says(b"HTTP/1.1 2"),
    "closes inside the headers": says(OK, b"X-Half: "),
    "closes inside the body": says(OK, b"Content-Length: 100\r\n\r\nonly this"),
    "closes a kept connection": keeps_alive(OK + b"Content-Length: 2\r\n\r\nok"),
    "NUL in a header": says(OK, b"X: a\0b\r\nContent-Length: 0\r\n\r\n"),
    "CR in a header": says(OK, b"X: a\rb\r\nContent-Length: 0\r\n\r\n"),
    "folded header": says(OK, b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
    "header without a name": says(OK, b": a\r\nContent-Length: 0\r\n\r\n"),
    "header without a colon": says(OK, b"hello\r\nContent-Length: 0\r\n\r\n"),
    "bare line feeds": says(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    "HTTP/0.9": says(b"<html>hello</html>"),
    "HTTP/2 preface": says(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80" + bytes(12)),
    "HTTP/3.7": says(b"HTTP/3.7 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "status of four digits": says(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    "status 999": says(b"HTTP/1.1 999 ?\r\nContent-Length: 0\r\n\r\n"),
    "SSH": says(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "switches protocols": says(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"x" * 100),
    "healthy": keeps_alive(*[OK + b"Content-Length: 2\r\n\r\nok"] * 1000),
}

RETRY_AFTER = [
    b"-1",
    b"-99999999999",
    b"1e18",
    b"1000000000000000000",
    b"nan",
    b"inf",
    b"0x10",
    b"soon",
    b"",
    b"Fri, 31 Dec 9999 23:59:59 GMT",
    b"Thu, 01 Jan 1970 00:00:00 GMT",
    b"Thu, 99 Foo 2027 99:99:99 GMT",
    b"Mon, 01 Jan 2029 00:00:00 +9999999999",
    b"9" * 10_000,
    b"\xff\xfe",
    b"5\r\nRetry-After: 6",
]


def retry_afters() -> dict[str, Play]:
    return {
        f"retry after {n}": says(
            b"HTTP/1.1 503 Busy\r\nRetry-After: ", value, b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        for n, value in enumerate(RETRY_AFTER)
    }


def secure(folder: Path) -> dict[str, Play]:
    ok = says(OK, b"Content-Length: 2\r\n\r\nok")
    return {
        "TLS: silent": silent,
        "TLS: drips the handshake": lambda connection: _drip_raw(connection, b"\x16\x03\x03\x00\x7a" + bytes(122)),
        "TLS: answers in clear": lambda connection: _raw(connection, OK + b"Content-Length: 2\r\n\r\nok"),
        "TLS: an alert": lambda connection: _raw(connection, b"\x15\x03\x03\x00\x02\x02\x28"),
        "TLS: a record of garbage": lambda connection: _raw(connection, b"\x16\x03\x03\x40\x00" + b"\xff" * 16_384),
        "TLS: closes at the handshake": lambda connection: _raw(connection, b""),
        "TLS: resets at the handshake": slams(b"", listens=False),
        "TLS: good": encrypted(folder, "good.pem", ok),
        "TLS: other name": encrypted(folder, "other.pem", ok),
        "TLS: expired": encrypted(folder, "expired.pem", ok),
        "TLS: nobody vouches": encrypted(folder, "unknown.pem", ok),
        "TLS: old version": encrypted(folder, "good.pem", ok, old=True),
        "TLS: silent after the handshake": encrypted(folder, "good.pem", silent),
        "TLS: ends without a goodbye": encrypted(folder, "good.pem", says(OK, b"\r\nno length")),
        "TLS: goes on in clear": garbage_under_tls(folder),
        "TLS: resets when asked": encrypted(folder, "good.pem", slams(b"")),
    }


def _raw(connection: socket.socket, reply: bytes) -> None:
    connection.recv(65_536)
    connection.sendall(reply)


def _drip_raw(connection: socket.socket, reply: bytes) -> None:
    connection.recv(65_536)
    for byte in reply:
        connection.sendall(bytes([byte]))
        time.sleep(DRIP_S)


def serve(play: Play) -> int:
    """Play for everybody who connects, each on a thread; returns the port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)

    def one(connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(PATIENCE_S)
                play(connection)
        except (OSError, ValueError):
            pass

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


def main(folder: Path) -> None:
    plays = PLAIN | retry_afters() | secure(folder)
    print(json.dumps({name: serve(play) for name, play in plays.items()}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
