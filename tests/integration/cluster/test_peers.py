"""Members speak with each other over TLS on loopback; and who is none does not get a word in."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from tests.conformance.cluster.played import Played
from tests.integration.cluster.members import (
    CLUSTER,
    PATIENCE_S,
    Pki,
    client_context,
    expired,
    member,
    nobody,
    now,
    tls_of,
    two,
    until,
)

from chronos.cluster.certificates import make_authority
from chronos.cluster.peers import listener as listening
from chronos.cluster.peers import session as sessions
from chronos.cluster.peers.net import PeerNet
from chronos.cluster.peers.port import Placed
from chronos.cluster.peers.remote import RemotePeers, answer_with
from chronos.cluster.peers.roster import Address, Identity, Roster
from chronos.cluster.peers.wire import Ask, Call, Hello, Ping, Refused, error_in, packed, refusal
from chronos.errors import (
    ConfigInvalid,
    Invalid,
    JobInvalid,
    NotLeader,
    PeerSilent,
    PeerUnreachable,
    Unavailable,
    Unprocessable,
)
from chronos.frames import framed
from chronos.timing.clock import SystemChance, SystemClock

ECHO = Call("echo", bytes, bytes, within_s=PATIENCE_S)


async def echo(_: str, question: bytes) -> bytes:
    return question


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


async def still_answers(net: PeerNet, by: PeerNet) -> None:
    """See to it that a member is as well as it was."""
    net.on(ECHO, echo)
    assert await by.call("n1", ECHO, b"are you well?") == b"are you well?"


# What members say.


@pytest.mark.asyncio
async def test_what_a_node_is_asked_arrives_and_its_answer_comes_back(pki: Pki) -> None:
    async with two(pki) as (one, other):
        played = Played()
        answer_with(played, other)
        far = RemotePeers(one).at("n2")

        assert await far.forward([b"a", b"b"]) == Placed(7, 2)
        await far.renew("n1#01H", 3)
        assert await far.recall(["x", "y"], entry=9) == {"x": "dropped", "y": "dropped"}
        assert played.asked == [[b"a", b"b"], ("n1#01H", 3), 9]


@pytest.mark.asyncio
async def test_a_node_asks_itself_without_a_detour(pki: Pki) -> None:
    async with two(pki) as (one, _):
        answer_with(Played(), one)
        assert await RemotePeers(one).at("n1").forward([b"a"]) == Placed(7, 2)


@pytest.mark.asyncio
async def test_a_refusal_arrives_as_the_error_it_is(pki: Pki) -> None:
    async with two(pki) as (one, other):
        answer_with(Played(leads=False), other)
        with pytest.raises(NotLeader) as caught:
            await RemotePeers(one).at("n2").forward([b"a"])
    assert caught.value.facts == {"leader": "n3"}


@pytest.mark.asyncio
async def test_facts_of_an_error_travel_and_a_kind_nobody_knows_here_is_its_family() -> None:
    told = refusal(1, JobInvalid("no", field="name", allowed=["a", "b"], limits={"max": 3}))
    assert isinstance(error_in(told), JobInvalid)
    assert error_in(told).facts == {"field": "name", "allowed": ["a", "b"], "limits": {"max": 3}}
    newer = Refused(1, ["brand-new-thing", "unprocessable", "invalid", "chronos-error"], "no", {"message": "a fact"})
    assert type(error_in(newer)) is Unprocessable
    assert error_in(newer).facts == {"message": "a fact"}


@pytest.mark.asyncio
async def test_a_node_vouches_for_its_own_life_only(pki: Pki) -> None:
    async with two(pki) as (one, other):
        played = Played()
        answer_with(played, other)
        with pytest.raises(Invalid, match="cannot vouch"):
            await RemotePeers(one).at("n2").renew("n3#01H", 3)
    assert played.asked == []


@pytest.mark.asyncio
async def test_a_call_that_the_other_release_does_not_know_is_refused_and_nothing_else_is(pki: Pki) -> None:
    async with two(pki) as (one, other):
        with pytest.raises(Unavailable, match="does not know the call"):
            await one.call("n2", ECHO, b"?")
        await still_answers(one, other)


@pytest.mark.asyncio
async def test_many_calls_at_once_get_their_own_answers(pki: Pki) -> None:
    async with two(pki) as (one, other):
        other.on(ECHO, echo)
        questions = [bytes([number % 251]) * (1 + number * 97) for number in range(300)]
        answers = await asyncio.gather(*(one.call("n2", ECHO, question) for question in questions))
    assert answers == questions


@pytest.mark.asyncio
async def test_an_answer_that_takes_too_long_is_given_up_and_the_asked_one_stops(pki: Pki) -> None:
    stopped = asyncio.Event()

    async def slow(_: str, question: bytes) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return question

    async with two(pki) as (one, other):
        other.on(ECHO, slow)
        await until(lambda: one.is_up("n2"))
        with pytest.raises(PeerSilent):
            await one.call("n2", ECHO, b"?", within_s=0.05)
        async with asyncio.timeout(PATIENCE_S):
            await stopped.wait()


@pytest.mark.asyncio
async def test_who_asks_may_go_away_and_the_asked_one_stops(pki: Pki) -> None:
    began, stopped = asyncio.Event(), asyncio.Event()

    async def slow(_: str, question: bytes) -> bytes:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return question

    async with two(pki) as (one, other):
        other.on(ECHO, slow)
        asking = asyncio.create_task(one.call("n2", ECHO, b"?"))
        async with asyncio.timeout(PATIENCE_S):
            await began.wait()
            asking.cancel()
            await stopped.wait()
    with pytest.raises(asyncio.CancelledError):
        await asking


@pytest.mark.asyncio
async def test_a_handler_with_a_bug_costs_its_own_question_only(pki: Pki) -> None:
    async def broken(_: str, question: bytes) -> bytes:
        raise ZeroDivisionError

    async with two(pki) as (one, other):
        one.on(ECHO, broken)
        with pytest.raises(PeerSilent, match="its log says why"):
            await other.call("n1", ECHO, b"?")
        await still_answers(one, other)


@pytest.mark.asyncio
async def test_what_is_too_large_is_refused_on_either_side_and_the_connection_stays(pki: Pki) -> None:
    async def bigger(_: str, question: bytes) -> bytes:
        return bytes(17 << 20)

    async with two(pki) as (one, other):
        other.on(ECHO, bigger)
        with pytest.raises(Unprocessable, match="too large"):
            await one.call("n2", ECHO, bytes(17 << 20))
        with pytest.raises(Unprocessable, match="too large"):
            await one.call("n2", ECHO, b"?")
        await still_answers(one, other)


@pytest.mark.asyncio
async def test_more_questions_than_are_answered_at_a_time_are_refused(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "UNDER_WAY_MAX", 4)
    release = asyncio.Event()

    async def held(_: str, question: bytes) -> bytes:
        await release.wait()
        return question

    async with two(pki) as (one, other):
        other.on(ECHO, held)
        asking = [asyncio.create_task(one.call("n2", ECHO, b"?")) for _ in range(6)]
        await until(lambda: sum(task.done() for task in asking) == 2)
        release.set()
        answers = await asyncio.gather(*asking, return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Overloaded"] * 2 + ["bytes"] * 4


# How connections come and go.


@pytest.mark.asyncio
async def test_a_node_that_is_not_there_is_unreachable_and_nothing_was_sent(pki: Pki) -> None:
    async with member(pki, "n1", nobody()) as one:
        with pytest.raises(PeerUnreachable):
            await one.call("n2", ECHO, b"?", within_s=0.2)
        with pytest.raises(PeerUnreachable, match="no member"):
            await one.call("n9", ECHO, b"?")
        assert set(one.troubles()) == {"n2", "n3"}


@pytest.mark.asyncio
async def test_a_node_that_comes_back_is_reached_again(pki: Pki) -> None:
    roster = nobody()
    async with member(pki, "n1", roster) as one:
        for _ in range(2):
            async with member(pki, "n2", roster) as other:
                other.on(ECHO, echo)
                assert await one.call("n2", ECHO, b"hello") == b"hello"
            await until(lambda: not one.is_up("n2"))


@pytest.mark.asyncio
async def test_a_host_says_that_a_node_has_ended_and_no_more_once_it_is_back(pki: Pki) -> None:
    roster = nobody()
    async with member(pki, "n1", roster) as one:
        peers = RemotePeers(one)
        for _ in range(2):
            async with member(pki, "n2", roster) as other:
                await until(lambda: one.is_up("n2"))
                assert peers.refused_s("n2") == 0.0
                assert other.address == roster.address_of("n2")
            await until(lambda: peers.refused_s("n2") > 0.1)
        assert peers.refused_s("n9") == 0.0


@pytest.mark.asyncio
async def test_a_question_whose_connection_is_lost_may_have_been_done(pki: Pki) -> None:
    began = asyncio.Event()

    async def held(_: str, question: bytes) -> bytes:
        began.set()
        await asyncio.Event().wait()
        return question

    roster = nobody()
    async with member(pki, "n1", roster) as one:
        async with member(pki, "n2", roster) as other:
            other.on(ECHO, held)
            asking = asyncio.create_task(one.call("n2", ECHO, b"?"))
            await began.wait()
        with pytest.raises(PeerSilent):
            await asking


@pytest.mark.asyncio
async def test_who_is_removed_is_let_go_and_who_joins_is_reached(pki: Pki) -> None:
    roster = nobody()
    async with member(pki, "n1", roster) as one, member(pki, "n2", roster) as other:
        await until(lambda: one.is_up("n2") and other.is_up("n1"))
        mine = roster.address_of("n1")
        assert mine is not None
        roster.replace({"n1": mine})
        await until(lambda: not one.is_up("n2") and not one._listener.members())
        with pytest.raises(PeerUnreachable):
            await one.call("n2", ECHO, b"?")


@pytest.mark.asyncio
async def test_the_oldest_of_too_many_connections_of_a_member_goes(pki: Pki) -> None:
    async with two(pki) as (one, other):
        await until(lambda: other.is_up("n1"))
        one.on(ECHO, echo)
        async with other.lane("n1") as a, other.lane("n1") as b, other.lane("n1") as c, other.lane("n1") as d:
            for lane in (a, b, c, d):
                assert await lane.call(ECHO, b"x") == b"x"
            assert len(one._listener._sessions) <= listening.SESSIONS_MAX + 1
        await still_answers(one, other)


@pytest.mark.asyncio
async def test_a_certificate_that_was_renewed_is_shown_without_a_restart(pki: Pki) -> None:
    roster = nobody()
    async with member(pki, "n1", roster) as one:
        before = one._credentials.client()
        pki.files("n1")
        assert one._credentials.client() is not before
        async with member(pki, "n2", roster) as other:
            await still_answers(one, other)


@pytest.mark.asyncio
async def test_files_that_are_half_replaced_leave_what_there_is(pki: Pki) -> None:
    async with member(pki, "n1", nobody()) as one:
        before = one._credentials.client()
        tls_of(pki, "n1").certificate.write_bytes(b"-----BEGIN")
        assert one._credentials.client() is before


@pytest.mark.asyncio
async def test_a_certificate_that_cannot_be_used_is_said_at_the_start(pki: Pki) -> None:
    own = Identity(CLUSTER, "n1")

    def made(**of: object) -> PeerNet:
        files = pki.files("n1", **of)  # type: ignore[arg-type]
        return PeerNet(own, Address("127.0.0.1", 0), Roster({}), files, SystemClock(), SystemChance())

    with pytest.raises(ConfigInvalid, match=r"expired at .* `chronos cluster renew`"):
        made(at=expired())
    with pytest.raises(ConfigInvalid, match="of cluster 00000000"):
        made(cluster="00000000-0000-4000-8000-000000000000")
    files = pki.files("n2", under="n1")
    with pytest.raises(ConfigInvalid, match="is of node `n2`"):
        PeerNet(own, Address("127.0.0.1", 0), Roster({}), files, SystemClock(), SystemChance())
    files = pki.files("n1")
    files.key.chmod(0o604)
    with pytest.raises(ConfigInvalid, match="chmod 600"):
        PeerNet(own, Address("127.0.0.1", 0), Roster({}), files, SystemClock(), SystemChance())
    files.key.unlink()
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        PeerNet(own, Address("127.0.0.1", 0), Roster({}), files, SystemClock(), SystemChance())


@pytest.mark.asyncio
async def test_an_address_that_is_taken_is_said_at_the_start(pki: Pki) -> None:
    async with member(pki, "n1", nobody()) as one:
        own = Identity(CLUSTER, "n1")
        second = PeerNet(own, one.address, Roster({}), tls_of(pki, "n1"), SystemClock(), SystemChance())
        with pytest.raises(ConfigInvalid, match="cannot listen"):
            await second.__aenter__()


# Who is no member.


async def talk(at: Address, context: ssl.SSLContext | None, said: bytes) -> bytes:
    """Say something to a listener, and return all that it says until it closes."""
    reader, writer = await asyncio.open_connection(
        at.host, at.port, ssl=context, server_hostname="" if context else None
    )
    try:
        writer.write(said)
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()
    except (ConnectionError, ssl.SSLError):
        return b""
    finally:
        writer.close()


def hello(node: str = "n2", newest: int = 1, oldest: int = 1) -> bytes:
    return bytes(framed(Hello(newest, oldest, node), 1 << 20))


@pytest.mark.asyncio
async def test_plain_text_ends_the_connection_and_nothing_else(pki: Pki) -> None:
    async with two(pki) as (one, other):
        for said in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", hello(), bytes(100_000), b"\x16\x03\x01\xff\xff"):
            assert b"n1" not in await talk(one.address, None, said)
        await still_answers(one, other)


@pytest.mark.asyncio
async def test_who_shows_no_certificate_or_one_of_another_authority_is_not_let_in(pki: Pki) -> None:
    stranger = make_authority("stranger", now=now(), chance=SystemChance())
    async with two(pki) as (one, other):
        ca = tls_of(pki, "n1").authority
        for files in (None, pki.files("n2", under="foreign", by=stranger), pki.files("n2", under="old", at=expired())):
            assert await talk(one.address, client_context(files, ca), hello()) == b""
        await still_answers(one, other)


@pytest.mark.asyncio
async def test_a_certificate_of_another_cluster_or_of_no_member_is_told_why(pki: Pki) -> None:
    async with two(pki) as (one, other):
        ca = tls_of(pki, "n1").authority
        elsewhere = pki.files("n2", under="x", cluster="00000000-0000-4000-8000-000000000000")
        assert b"not of this cluster" in await talk(one.address, client_context(elsewhere, ca), hello())
        unknown = pki.files("n7")
        assert b"no other member" in await talk(one.address, client_context(unknown, ca), hello("n7"))
        itself = tls_of(pki, "n1")
        assert b"no other member" in await talk(one.address, client_context(itself, ca), hello("n1"))
        await still_answers(one, other)


@pytest.mark.asyncio
async def test_nobody_can_take_a_name_that_is_not_in_the_certificate(pki: Pki) -> None:
    async with two(pki) as (one, other):
        context = client_context(tls_of(pki, "n2"), tls_of(pki, "n1").authority)
        assert b"calls itself" in await talk(one.address, context, hello("n3"))
        await still_answers(one, other)


@pytest.mark.asyncio
async def test_a_release_that_speaks_nothing_we_know_is_told_so(pki: Pki) -> None:
    async with two(pki) as (one, other):
        context = client_context(tls_of(pki, "n2"), tls_of(pki, "n1").authority)
        assert b"speaks versions 8 to 9" in await talk(one.address, context, hello(newest=9, oldest=8))
        await still_answers(one, other)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "said",
    [
        b"\xff\xff\xff\xff",  # a frame of four gigabytes
        b"\x00\x00\x00\x00",  # one of none
        b"\x04\x00\x00\x00\xc1\xc1\xc1\xc1",  # no msgpack
        bytes(framed(Ping(), 100)),  # before it has greeted
        bytes(framed(Ask(1, "echo", 1000, packed(b"x")), 100)),
        hello() + hello(),
        hello() + bytes(framed(Ask(1, "echo", 1000, packed(b"x")), 100)) * 2,  # a number twice
        (8_000).to_bytes(4, "little") + bytes(8_000),  # too large for somebody who has not greeted
        hello() + b"\x05\x00\x00\x00\x92\x07\x01\x02",
        hello() + bytes(framed(Hello(1, 1, "n2", "x" * 50), 100)),
    ],
    ids=str,
)
async def test_a_member_that_talks_nonsense_is_cut_off_and_nothing_else_happens(pki: Pki, said: bytes) -> None:
    async with two(pki) as (one, other):
        release = asyncio.Event()

        async def held(_: str, question: bytes) -> bytes:
            await release.wait()
            return question

        one.on(ECHO, held)
        context = client_context(tls_of(pki, "n2"), tls_of(pki, "n1").authority)
        await talk(one.address, context, said + b"\x01")  # returns when it was closed
        await still_answers(one, other)


@pytest.mark.asyncio
async def test_who_says_nothing_after_the_handshake_is_cut_off(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "HELLO_S", 0.05)
    async with two(pki) as (one, other):
        context = client_context(tls_of(pki, "n2"), tls_of(pki, "n1").authority)
        assert await talk(one.address, context, b"\x05\x00") == b""
        monkeypatch.setattr(sessions, "HELLO_S", PATIENCE_S)
        await still_answers(one, other)


@pytest.mark.asyncio
async def test_who_falls_silent_is_cut_off(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SILENCE_S", 0.05)
    monkeypatch.setattr(sessions, "LOOK_S", 0.02)
    async with member(pki, "n1", nobody()) as one:
        pki.files("n2")
        context = client_context(tls_of(pki, "n2"), tls_of(pki, "n1").authority)
        assert b"n1" in await talk(one.address, context, hello())


@pytest.mark.asyncio
async def test_half_a_handshake_costs_a_place_for_a_while_and_there_are_so_many_only(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "HANDSHAKES_MAX", 3)
    roster = nobody()
    async with member(pki, "n1", roster) as one:
        hanging = [await asyncio.open_connection(one.address.host, one.address.port) for _ in range(8)]
        await until(lambda: one._listener._shaking == 3)
        async with asyncio.timeout(PATIENCE_S):
            assert await hanging[-1][0].read() == b""  # closed at once
        for _, writer in hanging:
            writer.close()
        await until(lambda: one._listener._shaking == 0)
        async with member(pki, "n2", roster) as other:
            await still_answers(one, other)


@pytest.mark.asyncio
async def test_an_impostor_at_a_members_address_is_asked_nothing(pki: Pki) -> None:
    heard = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1):
            heard.set()
        writer.close()

    files = pki.files("n3")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    host, port = server.sockets[0].getsockname()
    roster = Roster({"n1": Address("127.0.0.1", 1), "n2": Address(host, port)})
    async with member(pki, "n1", roster) as one:
        await until(lambda: "n3" in one.troubles().get("n2", ""))
        with pytest.raises(PeerUnreachable, match="there is `n3`"):
            await one.call("n2", ECHO, b"?", within_s=0.1)
    server.close()
    assert not heard.is_set()
