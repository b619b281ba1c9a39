"""HTTPS: trust is checked, always and against the name that was asked for."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.integration.dispatch.certificates import write_certificate
from tests.integration.dispatch.samples import http
from tests.integration.dispatch.target_server import TargetServer
from tests.unit.dispatch.wires import exchanged

from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.http import HttpDispatcher, HttpSettings
from chronos.dispatch.http.dispatcher import hot_client
from chronos.dispatch.http.exchange import Wanted
from chronos.dispatch.http.tls import tls_context
from chronos.dispatch.http.url import parse_url
from chronos.dispatch.port import Delivered, NoAnswer, Outcome
from chronos.errors import ConfigInvalid
from chronos.timing.clock import SystemClock


def a_certificate(folder: Path, *, names: list[str], days: int = 1) -> Path:
    return write_certificate(folder / "target.pem", names=names, days=days)


def call(certificate: Path, *, trusted: bool, host: str = "127.0.0.1", skip_verify: bool = False) -> Outcome:
    async def main() -> Outcome:
        async def lookup(name: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        settings = HttpSettings(ca_file=str(certificate) if trusted else None)
        dispatcher = HttpDispatcher(EgressGuard(lookup=lookup), SystemClock(), settings)
        async with asyncio.timeout(60), TargetServer(tls=context) as server:
            try:
                return await dispatcher.deliver(http(server.url(host=host), tls_skip_verify=skip_verify))
            finally:
                await dispatcher.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "target.test"])
def test_a_trusted_certificate_with_the_right_name_is_accepted(tmp_path: Path, host: str) -> None:
    certificate = a_certificate(tmp_path, names=["127.0.0.1", "target.test"])
    assert isinstance(call(certificate, trusted=True, host=host), Delivered)


@pytest.mark.parametrize(
    ("names", "days", "trusted", "words"),
    [
        (["target.test"], 1, False, "not trusted"),
        (["other.test"], 1, True, "not trusted: Hostname mismatch"),
        (["target.test"], -1, True, "expired"),
    ],
)
def test_a_certificate_nobody_vouches_for_is_no_answer(
    tmp_path: Path, names: list[str], days: int, trusted: bool, words: str
) -> None:
    outcome = call(a_certificate(tmp_path, names=names, days=days), trusted=trusted, host="target.test")
    assert isinstance(outcome, NoAnswer)
    assert outcome.error_class == "tls"
    assert words in outcome.reason


def test_the_environment_cannot_add_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = a_certificate(tmp_path, names=["target.test"])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert isinstance(call(certificate, trusted=False, host="target.test"), NoAnswer)


def test_a_target_may_say_that_trust_is_not_to_be_checked(tmp_path: Path) -> None:
    certificate = a_certificate(tmp_path, names=["other.test"])
    assert isinstance(call(certificate, trusted=False, host="target.test", skip_verify=True), Delivered)


def test_a_target_that_speaks_no_tls_is_no_answer() -> None:
    async def main() -> Outcome:
        # The server waits for more of what it takes for a request, so the connect timeout has to end it.
        dispatcher = HttpDispatcher(EgressGuard(), SystemClock(), HttpSettings(connect_timeout_s=0.3))
        async with asyncio.timeout(60), TargetServer() as server:
            try:
                return await dispatcher.deliver(http(server.url().replace("http:", "https:")))
            finally:
                await dispatcher.aclose()

    server_error = asyncio.run(main())
    assert isinstance(server_error, NoAnswer)
    assert server_error.error_class in ("tls", "connect")


@pytest.mark.parametrize("verify", [True, False])
def test_a_server_cannot_ask_for_one_handshake_after_another(verify: bool) -> None:
    assert tls_context(verify=verify).options & ssl.OP_NO_RENEGOTIATION


def test_authorities_that_cannot_be_read_are_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="ca_file"):
        HttpDispatcher(EgressGuard(), SystemClock(), HttpSettings(ca_file=str(tmp_path / "missing.pem")))


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
with suppress(ImportError):
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_next_connection_to_a_place_resumes_its_session_and_no_other_place_s(
    tmp_path: Path, version: ssl.TLSVersion, loop: str
) -> None:
    certificate = a_certificate(tmp_path, names=["127.0.0.1"])
    resumed: list[bool] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                resumed.append(writer.get_extra_info("ssl_object").session_reused)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async def serve() -> asyncio.Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(certificate)
        return await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)

    async def main() -> None:
        client = hot_client(EgressGuard(), SystemClock(), HttpSettings(ca_file=str(certificate)))
        async with asyncio.timeout(60), await serve() as here, await serve() as there:
            for server in (here, here, there, here):
                url = parse_url(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
                for is_fresh in (True, False):
                    wire = f"GET / HTTP/1.1\r\nHost: {url.authority}\r\n\r\n".encode()
                    assert (await exchanged(client, Wanted(url, "GET", wire, is_fresh=is_fresh))).status == 200
            await client.aclose()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())
    assert resumed == [False] * 2 + [True] * 2 + [False] * 2 + [True] * 2
