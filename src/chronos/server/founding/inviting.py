"""Letting one node join: the token that invites it, who answers it, and how it asks.

    invite  the authority's host answers one node, for a while; prints ADDRESS, the authority's hash, and a secret
    join    asks for the authority's certificate ─▶ is it the one of the hash? ─▶ asks again over TLS that this very
            authority vouches for, with the secret and a request for a certificate ─▶ has all that its folder holds

The private key of the node never leaves its host. The secret is good for one answer; nothing of it says whose it is.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import socket
import ssl
import tempfile
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog
from msgspec import Struct

from chronos.cluster.certificates import CertificateUnusable, issue_server, request, show
from chronos.cluster.peers.roster import Address
from chronos.cluster.peers.tls import identity_in
from chronos.errors import ConfigInvalid, Denied, Invalid, Unavailable
from chronos.frames import ProtocolBroken, framed
from chronos.server.config import split_address
from chronos.server.founding.folders import Grant, Granted, check_free, take
from chronos.server.founding.nodes import AUTHORITY, NODE_NAME
from chronos.timing.clock import Chance, Clock, utc

log = structlog.get_logger("chronos.cluster")

T = TypeVar("T", bound=Struct)

PORT = 7440
SECRET_BYTES = 32
EXCHANGE_S = 5.0
"""For one question and its answer, the handshake included. Whoever is slower is let go."""
REQUEST_BYTES_MAX = 8_192
ANSWER_BYTES_MAX = 256 << 10
CONNECTIONS_MAX = 16
CROWDED_S = 0.1
WRONG_MAX = 20
"""So many wrong secrets end an invitation: somebody guesses."""
HOURS_MAX = 24 * 7

_PREFIX = "chronos1."
_LENGTH_BYTES = 4


class InvitationRefused(Denied):
    """The invitation does not let this node in."""


class Look(Struct, frozen=True, array_like=True, tag=1):
    """Show me the authority's certificate."""


class Join(Struct, frozen=True, array_like=True, tag=2):
    """Let me in; `asked` is a request for a certificate, PEM."""

    secret: bytes
    asked: bytes


class Shown(Struct, frozen=True, array_like=True, tag=1):
    """The authority's certificate, and the name of the node that is waited for."""

    certificate: bytes
    node: str


class Given(Struct, frozen=True, array_like=True, tag=2):
    granted: Granted


class Refused(Struct, frozen=True, array_like=True, tag=3):
    reason: str


_questions: msgspec.msgpack.Decoder[Look | Join] = msgspec.msgpack.Decoder(Look | Join)
_answers: msgspec.msgpack.Decoder[Shown | Given | Refused] = msgspec.msgpack.Decoder(Shown | Given | Refused)


class Token(Struct, frozen=True, array_like=True):
    """What invites a node.

    Attributes:
        address: Where it is answered.
        authority: SHA-256 of the authority's certificate.
        secret: Good for one answer.
    """

    address: str
    authority: bytes
    secret: bytes

    def packed(self) -> str:
        """Return it as it is handed on: one word."""
        return _PREFIX + base64.urlsafe_b64encode(msgspec.msgpack.encode(self)).decode().rstrip("=")

    def __repr__(self) -> str:
        return f"Token({self.address})"


def read_token(text: str) -> Token:
    """Return the token in a word.

    Raises:
        Invalid: There is none.
    """
    packed = text.strip().removeprefix(_PREFIX)
    try:
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        token = msgspec.msgpack.decode(raw, type=Token)
        split_address(token.address, "TOKEN")
    except (binascii.Error, ValueError, msgspec.MsgspecError, ConfigInvalid) as exc:
        raise Invalid("TOKEN: this is none; copy the whole word that `chronos cluster invite` has printed.") from exc
    if not text.strip().startswith(_PREFIX) or len(token.authority) != 32 or len(token.secret) != SECRET_BYTES:
        raise Invalid("TOKEN: this is none; copy the whole word that `chronos cluster invite` has printed.")
    return token


class Invitation:
    """Answers one node, once. `async with`, then `await accepted(seconds)`.

    Args:
        at: Where the node reaches this host.

    Raises:
        ConfigInvalid: On entering: nobody can listen there.
    """

    def __init__(self, grant: Grant, at: Address, life: timedelta, clock: Clock, chance: Chance) -> None:
        self._grant = grant
        self._at = at
        self._life = life
        self._clock = clock
        self._chance = chance
        self._secret = chance.bytes(SECRET_BYTES)
        self._socket: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._wrong = 0
        self._is_used = False
        self._done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def token(self) -> Token:
        """What the node has to know."""
        assert self._socket is not None, "entered"
        port = self._socket.getsockname()[1]
        fingerprint = bytes.fromhex(show(self._grant.authority.certificate).fingerprint)
        return Token(str(Address(self._at.host, port)), fingerprint, self._secret)

    async def __aenter__(self) -> Invitation:
        context, host = self._context(), self._at.to_listen().host
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, self._at.port), family=family, backlog=CONNECTIONS_MAX)
        except OSError as exc:
            raise ConfigInvalid(f"--address: cannot listen on {self._at}: {exc.strerror}.", field="address") from exc
        self._socket.setblocking(False)
        self._spawn(self._accept(self._socket, context))
        return self

    async def __aexit__(self, *exc: object) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert self._socket is not None, "entered"
        self._socket.close()
        self._done.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def accepted(self, seconds: float) -> str:
        """Return the name of the node once it was let in.

        Raises:
            Unavailable: It did not come in time.
            InvitationRefused: Somebody guesses secrets.
        """
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self._done)
        except TimeoutError:
            raise Unavailable(
                "Nobody came; the invitation has ended. `chronos cluster invite` makes another."
            ) from None

    def _context(self) -> ssl.SSLContext:
        plan, now = self._grant.plan, utc(self._clock.time())
        hosts = [self._at.host]
        pair = issue_server(
            self._grant.authority, plan.uuid, AUTHORITY, hosts, self._life, now=now, chance=self._chance
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        with tempfile.TemporaryDirectory(prefix="chronos-invite-") as folder:  # for its owner only; `ssl` reads files
            certificate, key = Path(folder, "crt"), Path(folder, "key")
            certificate.write_bytes(pair.certificate)
            key.touch(mode=0o600)
            key.write_bytes(pair.key)
            context.load_cert_chain(certificate, key)
        return context

    async def _accept(self, listening: socket.socket, context: ssl.SSLContext) -> None:
        while True:
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(listening)
            except OSError:  # it was gone before we looked, or there is no room for it
                await asyncio.sleep(CROWDED_S)
                continue
            if len(self._tasks) > CONNECTIONS_MAX:
                connection.close()
            else:
                self._spawn(self._serve(connection, context))

    async def _serve(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        """Answer one question; whoever takes longer than `EXCHANGE_S` for all of it is let go."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=REQUEST_BYTES_MAX, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            async with asyncio.timeout(EXCHANGE_S):
                transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=context)
                writer = asyncio.StreamWriter(transport, protocol, reader, loop)
                try:
                    answer = self._answer(await _read(reader, _questions.decode, REQUEST_BYTES_MAX))
                    writer.write(framed(answer, ANSWER_BYTES_MAX))
                    await writer.drain()
                    await reader.read(1)  # until the other side has it, and leaves
                finally:
                    transport.abort()
        except (OSError, TimeoutError, ProtocolBroken, EOFError) as exc:
            log.info("invitation_not_asked", reason=str(exc) or type(exc).__name__)
        finally:
            connection.close()
            self._tell()

    def _answer(self, question: Look | Join) -> Shown | Given | Refused:
        if isinstance(question, Look):
            return Shown(self._grant.authority.certificate, self._grant.node.name)
        if not hmac.compare_digest(question.secret, self._secret):
            self._wrong += 1
            return Refused("The secret is wrong; copy the whole word that `chronos cluster invite` has printed.")
        if self._is_used:
            return Refused(
                "This invitation was used already; if that was not you, remove that node, and tell somebody."
            )
        try:
            granted = self._grant.give(question.asked)
        except CertificateUnusable as exc:
            return Refused(str(exc))
        self._is_used = True
        return Given(granted)

    def _tell(self) -> None:
        if self._done.done():
            return
        if self._is_used:
            self._done.set_result(self._grant.node.name)
        elif self._wrong >= WRONG_MAX:
            self._done.set_exception(InvitationRefused(f"{WRONG_MAX} wrong secrets: somebody guesses; it has ended."))


async def join(token: Token, out: Path) -> tuple[Path, Granted]:
    """Join with a token: return the folder that the node starts with, and what it was given.

    Raises:
        InvitationRefused: Whoever answers is not the authority, or does not let this node in.
        Unavailable: Nobody answers.
        FolderThere: The folder is there.
    """
    look = await _asked(token, Look(), _anybody())
    if not isinstance(look, Shown):
        raise InvitationRefused("Who answers does not show the authority's certificate.")
    if not hmac.compare_digest(bytes.fromhex(show(look.certificate).fingerprint), token.authority):
        raise InvitationRefused("Who answers is not the authority of the token: its hash is another. Nothing was told.")
    if NODE_NAME.fullmatch(look.node):
        check_free(out, [look.node])  # before the invitation is used up
    pair = request("node")
    given = await _asked(token, Join(token.secret, pair.certificate), _only(look.certificate), is_sure=True)
    if isinstance(given, Refused):
        raise InvitationRefused(given.reason)
    if not isinstance(given, Given) or given.granted.authority != look.certificate:
        raise InvitationRefused("What was answered is no invitation.")
    return take(given.granted, pair.key, out), given.granted


async def _asked(
    token: Token, question: Look | Join, context: ssl.SSLContext, *, is_sure: bool = False
) -> Shown | Given | Refused:
    host, port = split_address(token.address, "TOKEN")
    try:
        async with asyncio.timeout(2 * EXCHANGE_S):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname="", ssl_handshake_timeout=EXCHANGE_S, limit=ANSWER_BYTES_MAX
            )
            try:
                if is_sure:
                    _check_authority(writer)
                writer.write(framed(question, REQUEST_BYTES_MAX))
                return await _read(reader, _answers.decode, ANSWER_BYTES_MAX)
            finally:
                writer.transport.abort()
    except ssl.SSLCertVerificationError as exc:
        raise InvitationRefused(f"Who answers has no certificate of the authority: {exc.verify_message}.") from exc
    except (OSError, TimeoutError, EOFError, ProtocolBroken) as exc:
        raise Unavailable(
            f"Nobody answers at {token.address} ({str(exc) or type(exc).__name__}): does `chronos cluster invite` still"
            " wait there, and can this host reach it?"
        ) from exc


def _check_authority(writer: asyncio.StreamWriter) -> None:
    """A member has a certificate of the same authority, and is not it."""
    found = identity_in(writer.get_extra_info("peercert"))
    if found is None or found.node != AUTHORITY:
        raise InvitationRefused("Who answers is a node, and not the authority. Nothing was told.")


def _anybody() -> ssl.SSLContext:
    """Return what asks somebody who has yet to prove anything; nothing secret is said over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _only(authority: bytes) -> ssl.SSLContext:
    context = _anybody()
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=authority.decode())
    return context


async def _read(reader: asyncio.StreamReader, decode: Callable[[bytes], T], bytes_max: int) -> T:
    """Return the one message that comes. Raises `ProtocolBroken`: it is none, or too large."""
    size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "little")
    if size > bytes_max:
        raise ProtocolBroken(f"a message of {size} bytes is larger than {bytes_max}")
    try:
        return decode(await reader.readexactly(size))
    except msgspec.MsgspecError as exc:
        raise ProtocolBroken("what came is no message of an invitation") from exc


def own_address(towards: str, port: int = PORT) -> Address:
    """Return where this host is reached from the host of the node.

    Raises:
        Invalid: That host is not known here.
    """
    try:
        family, kind, protocol, _, at = socket.getaddrinfo(towards, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(at)  # nothing is sent: only the way is looked up
            return Address(str(probe.getsockname()[0]), port)
    except OSError as exc:
        raise Invalid(
            f"--address: {towards} is not known here ({exc.strerror}); say where it reaches this host: HOST:PORT.",
            field="address",
        ) from exc
