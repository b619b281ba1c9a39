"""The client that ships and a library's, side by side: what one makes of a target, the other makes of it as well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.conformance.dispatch.library_client import LibraryClient
from tests.conformance.dispatch.servers import SERVERS
from tests.integration.dispatch import hostile
from tests.integration.dispatch.certificates import write_certificate
from tests.integration.dispatch.samples import a_delivery
from tests.integration.dispatch.target_server import TargetServer
from tests.integration.dispatch.test_hostile import DEADLINE_S, HANGING, MEANINGS, Town, a_town, assert_means

from chronos.dispatch.breaker import Breakers, BreakerSettings
from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.http import HttpDispatcher, HttpSettings
from chronos.dispatch.http.dispatcher import hot_client
from chronos.dispatch.http.exchange import HttpClient
from chronos.dispatch.port import Delivered, Delivery, NoAnswer, Outcome, Refused
from chronos.dispatch.router import Router
from chronos.model.target import HttpTarget, Method, StoreResponse
from chronos.timing.clock import SystemClock

# How the two may differ: a connection that breaks is broken, whichever step it broke in.
ALIKE = {"reset": "broken", "connect": "broken", "tls": "broken", "protocol": "broken"}

HANGING_TOO = {*HANGING, "TLS: silent", "TLS: drips the handshake"}

MakeClient = Callable[[EgressGuard, SystemClock, HttpSettings], HttpClient]
CLIENTS: dict[str, MakeClient] = {"hot": hot_client, "library": LibraryClient}


@asynccontextmanager
async def routing(name: str, settings: HttpSettings | None = None) -> AsyncIterator[Router]:
    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    guard, clock = EgressGuard(lookup=lookup), SystemClock()
    client = CLIENTS[name](guard, clock, settings or HttpSettings())
    dispatcher = HttpDispatcher(guard, clock, client=client)
    breakers = Breakers(BreakerSettings(enabled=False))
    async with asyncio.timeout(100), Router({"http": dispatcher}, clock, breakers=breakers) as router:
        yield router


class Seen(NamedTuple):
    """What an outcome says, as far as both clients must agree."""

    kind: str
    error_class: str
    status: int | None
    sha256: str
    retry_after_s: float | None
    is_cut: bool


def seen(outcome: Outcome) -> Seen:
    assert isinstance(outcome, (Delivered, Refused, NoAnswer))
    error_class = "" if isinstance(outcome, Delivered) else outcome.error_class
    is_cut = any("body cut" in note for note in outcome.answer.notes)
    return Seen(
        type(outcome).__name__,
        ALIKE.get(error_class, error_class),
        outcome.answer.status_code,
        "" if is_cut else outcome.answer.sha256,  # how much of it came before the cut is chance
        outcome.retry_after_s if isinstance(outcome, Refused) else None,
        is_cut,
    )


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with a_town(tmp_path_factory.mktemp("hostile")) as made:
        yield made


def outcomes_of(town: Town, client: str) -> dict[str, Outcome]:
    names = [*MEANINGS, *(f"retry after {n}" for n in range(len(hostile.RETRY_AFTER)))]

    async def main() -> dict[str, Outcome]:
        async with routing(client, HttpSettings(ca_file=str(town.ca_file))) as router:
            # Who hangs is cut soon; who does not has all the time that a busy machine may need.
            deliveries = [
                town.delivery(name, f"occ_{name}", timeout_s=DEADLINE_S if name in HANGING_TOO else 30.0)
                for name in names
            ]
            return dict(zip(names, await asyncio.gather(*map(router.deliver, deliveries)), strict=True))

    return asyncio.run(main())


def test_both_clients_make_the_same_of_every_target_that_means_harm(town: Town) -> None:
    ours, theirs = outcomes_of(town, "hot"), outcomes_of(town, "library")
    for name in MEANINGS:
        assert_means(name, ours[name])
        assert_means(name, theirs[name])
    assert {name: seen(outcome) for name, outcome in ours.items()} == {
        name: seen(outcome) for name, outcome in theirs.items()
    }


def requests(base: str) -> list[HttpTarget]:
    """Return what is asked of every server."""
    long = "".join(f"line {n}\n" for n in range(20_000))
    node = StoreResponse.NODE
    return [
        HttpTarget(url=f"{base}/echo", body='{"a": 1}', store_response=node),
        HttpTarget(url=f"{base}/echo", body=long, store_response=node),
        *(HttpTarget(url=f"{base}/echo", method=method) for method in Method if method is not Method.HEAD),
        *[HttpTarget(url=f"{base}/echo", method=Method.HEAD)] * 3,
        HttpTarget(url=f"{base}/chunks", store_response=node),
        HttpTarget(url=f"{base}/chunks", method=Method.GET, store_response=node),
        *(HttpTarget(url=f"{base}/status/{status}", body="x") for status in (201, 204, 304, 400, 404, 410, 429, 503)),
        HttpTarget(url=f"{base}/redirect", body="again", follow_redirects=1),
        HttpTarget(url=f"{base}/redirect", body="again"),
        HttpTarget(url=f"{base}/close", body="bye"),
    ]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", SERVERS)
def test_both_clients_hear_the_same_from_servers_by_others(name: str, scheme: str, tmp_path: Path) -> None:
    certificate = write_certificate(tmp_path / "server.pem", names=["127.0.0.1"])
    settings = HttpSettings(ca_file=str(certificate))

    async def ask(client: str, port: int) -> list[Outcome]:
        async with routing(client, settings) as router:
            base = f"{scheme}://127.0.0.1:{port}"
            # Twice over one after the other, so that connections are used again after every kind of answer.
            return [await router.deliver(a_delivery(target)) for target in requests(base) * 2]

    async def crowd(port: int) -> None:
        async with routing("hot", settings) as router:
            target = HttpTarget(url=f"{scheme}://127.0.0.1:{port}/echo", body="{{.ExecutionID}}")

            async def one(n: int) -> None:
                for turn in range(20):
                    outcome = await router.deliver(a_delivery(target, execution_id=f"occ_{n}_{turn}"))
                    assert isinstance(outcome, Delivered), outcome
                    assert outcome.answer.excerpt == f"occ_{n}_{turn}", "an answer of somebody else's"

            await asyncio.gather(*map(one, range(20)))

    with SERVERS[name](tmp_path, ["secure"] if scheme == "https" else []) as port:
        ours, theirs = asyncio.run(ask("hot", port)), asyncio.run(ask("library", port))
        assert list(map(seen, ours)) == list(map(seen, theirs))
        assert all(isinstance(outcome, (Delivered, Refused)) for outcome in ours), ours
        assert bodies(ours)[:2] == bodies(theirs)[:2]
        asyncio.run(crowd(port))


def bodies(outcomes: list[Outcome]) -> list[bytes]:
    return [outcome.answer.body for outcome in outcomes if isinstance(outcome, (Delivered, Refused))]


def a_hundred_requests(url: str) -> list[Delivery]:
    bodies = ["", "x", '{"a": "é"}', "plain {text", "z" * 70_000]
    return [
        a_delivery(
            HttpTarget(
                url=f"{url}/echo?n={n}",
                method=list(Method)[n % len(Method)],
                body=bodies[n % len(bodies)],
                headers={"X-Mine": f"é {n}", "Accept": "text/plain"} if n % 3 else {},
                signing_secret="whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" if n % 4 == 0 else None,
            ),
            execution_id=f"occ_{n}",
        )
        for n in range(100)
    ]


def test_both_clients_send_the_same_requests() -> None:
    async def sent(client: str) -> list[str]:
        async with TargetServer() as server, routing(client) as router:
            for delivery in a_hundred_requests(server.url()):
                await router.deliver(delivery)
            assert server.connections < 100
            texts = [json.dumps([got.method, got.path, got.headers, got.body.decode()]) for got in server.got]
            return [text.replace(str(server.port), "PORT") for text in texts]

    ours, theirs = (without_time(asyncio.run(sent(client))) for client in CLIENTS)
    assert ours == theirs


def without_time(requests: list[str]) -> list[dict[str, object]]:
    found = []
    for text in requests:
        method, path, headers, body = json.loads(text)
        assert {"webhook-timestamp", "host", "webhook-id"} <= set(headers)
        kept = {name: value for name, value in headers.items() if name not in TIMED}
        found.append({"method": method, "path": path, "headers": kept, "body": body})
    return found


TIMED = {"webhook-timestamp", "webhook-signature"}
