"""Who is let in with an invitation, and who is not: over real sockets on loopback."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.acceptance.clusters import told

from chronos.cluster.certificates import read_certificate
from chronos.cluster.peers.roster import Address
from chronos.errors import Invalid, Unavailable
from chronos.frames import framed
from chronos.server import manifest
from chronos.server.clustered import clustered
from chronos.server.config import load
from chronos.server.founding import inviting
from chronos.server.founding.folders import FolderThere, Grant, Joining, renew
from chronos.server.founding.inviting import Invitation, InvitationRefused, Join, join, read_token
from chronos.timing.clock import SystemChance, SystemClock

CLOCK, CHANCE = SystemClock(), SystemChance()
HERE = Address("127.0.0.1", 0)


def founded(folder: Path) -> Path:
    told("cluster", "init", "--name", "test", "--node", "n1=10.0.0.1", "--node", "n2=10.0.0.2", "--out", str(folder))
    (folder / "new").mkdir()
    return folder


@asynccontextmanager
async def inviting_n3(out: Path) -> AsyncIterator[Invitation]:
    grant = Grant(Joining("n3=10.0.0.3", out, "./{node}/data"), CLOCK, CHANCE)
    async with Invitation(grant, HERE, timedelta(hours=1), CLOCK, CHANCE) as invitation:
        yield invitation


@pytest.mark.asyncio
async def test_a_node_that_is_invited_has_all_it_starts_with_and_a_key_of_its_own(tmp_path: Path) -> None:
    out = founded(tmp_path)
    async with inviting_n3(out) as invitation:
        folder, granted = await join(read_token(invitation.token.packed()), out / "new")
        assert await invitation.accepted(5.0) == "n3"
    assert folder == out / "new" / "n3"
    assert granted.add == "chronosctl cluster add n3=10.0.0.3:7443 --api http://10.0.0.3:8080"
    place = clustered(load(folder / "chronos.yaml", environ={}, flags={}, feature_types=manifest.sections()))
    assert place is not None
    assert (place.node, place.joins, sorted(place.members)) == ("n3", True, ["n1", "n2", "n3"])
    assert read_certificate(folder / "node.crt").node == "n3"
    assert {path.read_bytes() for path in folder.glob("keys/*")} == {
        path.read_bytes() for path in (out / "n1").glob("keys/*")
    }
    assert (folder / "node.key").stat().st_mode & 0o077 == 0
    assert not list(out.glob("ca/**/node.key"))
    [fresh] = renew(out, ["n3"], CLOCK, CHANCE)
    assert (fresh.node, fresh.file) == ("n3", str(out / "ca" / "issued" / "n3.crt"))


@pytest.mark.asyncio
async def test_an_invitation_is_good_for_one_node_and_one_time(tmp_path: Path) -> None:
    out = founded(tmp_path)
    async with inviting_n3(out) as invitation:
        await join(invitation.token, out / "new")
        with pytest.raises(InvitationRefused, match="used already"):
            await join(invitation.token, out)


@pytest.mark.asyncio
async def test_a_wrong_secret_lets_nobody_in_and_too_many_end_the_invitation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inviting, "WRONG_MAX", 2)
    out = founded(tmp_path)
    async with inviting_n3(out) as invitation:
        guessed = replace(invitation.token, secret=bytes(32))
        for _ in range(2):
            with pytest.raises(InvitationRefused, match="secret is wrong"):
                await join(guessed, out / "new")
        with pytest.raises(InvitationRefused, match="somebody guesses"):
            await invitation.accepted(5.0)
    assert not (out / "ca" / "issued").exists()


@pytest.mark.asyncio
async def test_an_authority_of_another_hash_is_told_nothing(tmp_path: Path) -> None:
    out = founded(tmp_path)
    async with inviting_n3(out) as invitation:
        with pytest.raises(InvitationRefused, match="its hash is another"):
            await join(replace(invitation.token, authority=bytes(32)), out / "new")
        await join(invitation.token, out / "new")


@pytest.mark.asyncio
async def test_a_member_cannot_pass_for_the_authority(tmp_path: Path) -> None:
    out = founded(tmp_path)
    async with inviting_n3(out) as invitation:
        shown = invitation.token

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(out / "n1" / "node.crt", out / "n1" / "node.key")
    heard: list[bytes] = []

    async def as_the_authority(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(10_000))
        writer.write(framed(inviting.Shown((out / "ca" / "ca.crt").read_bytes(), "n3"), 10_000))

    server = await asyncio.start_server(as_the_authority, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(InvitationRefused, match="is a node, and not the authority"):
        await join(replace(shown, address=f"127.0.0.1:{port}"), out / "new")
    server.close()
    assert shown.secret not in b"".join(heard)


async def ask(invitation: Invitation, data: bytes) -> bytes:
    """Say something, and return what is answered until the other side ends it."""
    host, _, port = invitation.token.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=inviting._anybody(), server_hostname="")
    try:
        writer.write(data)
        return await reader.read(100_000)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.asyncio
async def test_what_is_too_large_or_no_question_is_not_answered(tmp_path: Path) -> None:
    out = founded(tmp_path)
    async with inviting_n3(out) as invitation:
        assert await ask(invitation, (1 << 30).to_bytes(4, "little")) == b""
        assert await ask(invitation, (3).to_bytes(4, "little") + b"abc") == b""
        no_request = Join(invitation.token.secret, b"-----BEGIN CERTIFICATE REQUEST-----")
        assert b"no request for a certificate" in (await ask(invitation, bytes(framed(no_request, 10_000))))[:200]
        await join(invitation.token, out / "new")


@pytest.mark.asyncio
async def test_whoever_is_slow_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inviting, "EXCHANGE_S", 0.5)
    monkeypatch.setattr(inviting, "CONNECTIONS_MAX", 2)
    out = founded(tmp_path)
    async with asyncio.timeout(30), inviting_n3(out) as invitation:
        assert await ask(invitation, b"\x01") == b""
        host, _, port = invitation.token.address.rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(4)]
        assert [await reader.read(1) for reader, _ in silent] == [b""] * 4, "none of them is waited for"
        for _, writer in silent:
            writer.transport.abort()
        monkeypatch.setattr(inviting, "EXCHANGE_S", 5.0)
        await join(invitation.token, out / "new")


@pytest.mark.asyncio
async def test_nobody_is_waited_for_without_end(tmp_path: Path) -> None:
    async with inviting_n3(founded(tmp_path)) as invitation:
        with pytest.raises(Unavailable, match="Nobody came"):
            await invitation.accepted(0.05)


@pytest.mark.asyncio
async def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    out = founded(tmp_path)
    (out / "new" / "n3").mkdir()
    async with inviting_n3(out) as invitation:
        with pytest.raises(FolderThere):
            await join(invitation.token, out / "new")
        (out / "other").mkdir()
        await join(invitation.token, out / "other")  # the invitation was not used up


def test_a_word_that_is_no_token_is_refused() -> None:
    for word in ("", "chronos1.", "chronos1.kqwx", "K10abc::server:def", "chronos1." + "A" * 200):
        with pytest.raises(Invalid, match="copy the whole word"):
            read_token(word)


@pytest.mark.asyncio
async def test_the_commands_hand_a_word_from_one_host_to_the_other(tmp_path: Path) -> None:
    out = founded(tmp_path)
    command = ["cluster", "invite", "n3=10.0.0.3", "--address", "127.0.0.1:0", "--for", "1m", "--out", str(out)]
    async with asyncio.timeout(60):
        waiting = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chronos.cli.server", *command, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert waiting.stdout is not None
            line = (await waiting.stdout.readline()).decode()
            program, *words = line.split()
            assert (program, words[:2]) == ("chronos", ["cluster", "join"])
            said = await asyncio.to_thread(told, *words, "--out", str(out / "new"))
            assert "chronosctl cluster add n3=10.0.0.3:7443 --api http://10.0.0.3:8080" in said
            assert b"n3 has joined" in await waiting.stdout.read()
            assert await waiting.wait() == 0
        finally:
            if waiting.returncode is None:
                waiting.kill()
                await waiting.wait()
