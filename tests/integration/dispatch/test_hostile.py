"""Targets that mean harm: every attempt ends in time, with the right outcome, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.integration.dispatch import hostile
from tests.integration.dispatch.certificates import write_certificate
from tests.integration.dispatch.samples import a_delivery

from chronos.dispatch.breaker import Breakers, BreakerSettings
from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.http import HttpDispatcher, HttpSettings
from chronos.dispatch.http.answer import BODY_BYTES_MAX
from chronos.dispatch.port import Delivered, Delivery, NoAnswer, Outcome, Refused
from chronos.dispatch.router import Router
from chronos.model.target import HttpTarget
from chronos.timing.clock import SystemClock

DEADLINE_S = 0.8

LATE_MAX_S = 0.25
"""How much longer than its deadline an attempt may take: what the product promises."""

BUSY_MACHINE_S = 3.0
"""Granted besides, because tests run side by side on two cores: a hang is found, a slow machine is none."""

MEMORY_BYTES_MAX = 64 * 1024 * 1024
BIG_BODY = "x" * 200_000


class Means(NamedTuple):
    """What a misbehaviour comes to: the kind of outcome, its class, and a word of its reason or notes."""

    kind: type[Outcome]
    error_class: str = ""
    word: str = ""


HANGS = Means(NoAnswer, "timeout", "not done within")
TOO_LARGE = Means(Refused, "too_large")
GARBAGE = Means(NoAnswer, "protocol")
NOT_HTTP = Means(NoAnswer, "protocol", "not HTTP/1: it begins with")
CUT_OFF = Means(NoAnswer, "reset|protocol|connect")
UNTRUSTED = Means(NoAnswer, "tls")
CUT_BODY = Means(Delivered, "", "body cut")
FINE = Means(Delivered)

MEANINGS: dict[str, Means] = {
    "silent": HANGS,
    "deaf": HANGS,
    "drips a status line": HANGS,
    "drips a header": HANGS,
    "drips a body": HANGS,
    "drips chunks": HANGS,
    "drips informational answers": HANGS,
    "endless status line": TOO_LARGE,
    "endless header": TOO_LARGE,
    "endless headers": TOO_LARGE,
    "endless blank lines": NOT_HTTP,
    "endless informational answers": TOO_LARGE,
    "101 headers": TOO_LARGE,
    "endless body": Means(Delivered, "", "1 MiB"),
    "endless body without a length": Means(Delivered, "", "1 MiB"),
    "endless chunks": Means(Delivered, "", "1 MiB"),
    "endless tiny chunks": Means(Delivered, "", "pieces"),
    "endless chunk extension": CUT_BODY,
    "endless chunk size": CUT_BODY,
    "endless trailers": CUT_BODY,
    "gzip bomb": Means(Delivered, "", "unpacks to more than 100 times|1 MiB"),
    "gzip bomb in a gzip bomb": FINE,
    "gzip twice over": Means(Delivered, "", "kept packed"),
    "gzip in many members": FINE,
    "gzip with a tail": FINE,
    "deflate bomb": Means(Delivered, "", "unpacks to more than 100 times|1 MiB"),
    "bare deflate bomb": Means(Delivered, "", "unpacks to more than 100 times|1 MiB"),
    "broken gzip": Means(Delivered, "", "does not unpack"),
    "brotli": Means(Delivered, "", "kept packed"),
    "zstandard": Means(Delivered, "", "kept packed"),
    "unknown packing": Means(Delivered, "", "kept packed"),
    "chunk of no number": CUT_BODY,
    "chunk of a negative number": CUT_BODY,
    "chunk of a huge number": CUT_BODY,
    "chunk without an end": CUT_BODY,
    "two lengths": GARBAGE,
    "two lengths in a list": GARBAGE,
    "negative length": GARBAGE,
    "length of no number": GARBAGE,
    "length and chunks": FINE,
    "unknown transfer encoding": GARBAGE,
    "more than its length": FINE,
    "resets at once": CUT_OFF,
    "resets when asked": CUT_OFF,
    "resets inside the headers": CUT_OFF,
    "resets inside the body": CUT_BODY,
    "closes when asked": CUT_OFF,
    "closes inside the status line": CUT_OFF,
    "closes inside the headers": CUT_OFF,
    "closes inside the body": CUT_BODY,
    "closes a kept connection": FINE,
    "NUL in a header": GARBAGE,
    "CR in a header": GARBAGE,
    "folded header": FINE,
    "header without a name": GARBAGE,
    "header without a colon": GARBAGE,
    "bare line feeds": FINE,
    "HTTP/0.9": NOT_HTTP,
    "HTTP/2 preface": NOT_HTTP,
    "HTTP/3.7": NOT_HTTP,
    "status of four digits": GARBAGE,
    "status 999": Means(Refused, "http_status", "answered 999"),
    "SSH": NOT_HTTP,
    "switches protocols": GARBAGE,
    "healthy": FINE,
    "TLS: silent": Means(NoAnswer, "timeout|connect"),
    "TLS: drips the handshake": Means(NoAnswer, "timeout|connect|tls"),
    "TLS: answers in clear": UNTRUSTED,
    "TLS: an alert": UNTRUSTED,
    "TLS: a record of garbage": UNTRUSTED,
    "TLS: closes at the handshake": UNTRUSTED,
    "TLS: resets at the handshake": Means(NoAnswer, "tls|connect"),
    "TLS: good": FINE,
    "TLS: other name": Means(NoAnswer, "tls", "Hostname mismatch"),
    "TLS: expired": Means(NoAnswer, "tls", "expired"),
    "TLS: nobody vouches": Means(NoAnswer, "tls", "not trusted"),
    "TLS: old version": UNTRUSTED,
    "TLS: silent after the handshake": HANGS,
    "TLS: ends without a goodbye": FINE,
    "TLS: goes on in clear": CUT_OFF,
    "TLS: resets when asked": CUT_OFF,
}
HANGING = [name for name, means in MEANINGS.items() if means is HANGS]


class Town(NamedTuple):
    """Where the hostile targets live."""

    ports: dict[str, int]
    ca_file: Path

    def delivery(
        self, name: str, execution_id: str = "occ_hostile", timeout_s: float = DEADLINE_S, **fields: object
    ) -> Delivery:
        scheme, host = ("https", "target.test") if name.startswith("TLS") else ("http", "127.0.0.1")
        target = HttpTarget(url=f"{scheme}://{host}:{self.ports[name]}/hook", **fields)  # type: ignore[arg-type]
        return a_delivery(target, execution_id=execution_id, timeout_us=int(timeout_s * 1e6))


@contextmanager
def a_town(folder: Path) -> Iterator[Town]:
    """Run the hostile targets until the block is left."""
    for name, names, days in (
        ("good", ["target.test"], 1),
        ("other", ["other.test"], 1),
        ("expired", ["target.test"], -1),
        ("unknown", ["target.test"], 1),
    ):
        write_certificate(folder / f"{name}.pem", names=names, days=days)
    trusted = folder / "trusted.pem"
    trusted.write_text("".join((folder / f"{name}.pem").read_text() for name in ("good", "other", "expired")))
    with subprocess.Popen(
        [sys.executable, hostile.__file__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        yield Town(json.loads(program.stdout.readline()), trusted)
        program.communicate(b"")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with a_town(tmp_path_factory.mktemp("hostile")) as made:
        yield made


@asynccontextmanager
async def routing(town: Town) -> AsyncIterator[Router]:
    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    dispatcher = HttpDispatcher(EgressGuard(lookup=lookup), SystemClock(), HttpSettings(ca_file=str(town.ca_file)))
    breakers = Breakers(BreakerSettings(enabled=False))
    async with asyncio.timeout(100), Router({"http": dispatcher}, SystemClock(), breakers=breakers) as router:
        yield router


def words_of(outcome: Outcome) -> str:
    if isinstance(outcome, (Delivered, Refused, NoAnswer)):
        reason = "" if isinstance(outcome, Delivered) else outcome.reason
        return "\n".join([reason, *outcome.answer.notes])
    return ""


def assert_means(name: str, outcome: Outcome) -> None:
    means = MEANINGS[name]
    assert isinstance(outcome, means.kind), (name, outcome)
    assert re.search(means.word, words_of(outcome)), (name, outcome)
    if isinstance(outcome, (Refused, NoAnswer)):
        assert re.fullmatch(means.error_class, outcome.error_class), (name, outcome)
    if isinstance(outcome, (Delivered, Refused)):
        assert outcome.answer.body_bytes <= BODY_BYTES_MAX
        assert len(outcome.answer.excerpt.encode()) <= 1024


def test_every_way_to_misbehave_has_a_meaning(town: Town) -> None:
    assert {name for name in town.ports if not name.startswith("retry after")} == set(MEANINGS)


@pytest.mark.parametrize("name", MEANINGS)
def test_an_attempt_ends_in_time_and_with_the_right_outcome(town: Town, name: str) -> None:
    async def main() -> None:
        async with routing(town) as router:
            loop = asyncio.get_running_loop()
            began = loop.time()
            outcome = await router.deliver(town.delivery(name, body=BIG_BODY if name == "deaf" else "{}"))
            assert loop.time() - began <= DEADLINE_S + LATE_MAX_S + BUSY_MACHINE_S
            assert_means(name, outcome)

    asyncio.run(main())


@pytest.mark.parametrize("n", range(len(hostile.RETRY_AFTER)))
def test_an_absurd_retry_after_is_noted_and_ignored(town: Town, n: int) -> None:
    async def main() -> Outcome:
        async with routing(town) as router:
            return await router.deliver(town.delivery(f"retry after {n}"))

    outcome = asyncio.run(main())
    assert isinstance(outcome, Refused)
    assert not outcome.permanent
    assert outcome.retry_after_s is None
    assert "Retry-After ignored" in words_of(outcome)


def test_an_answer_left_over_from_another_request_is_no_answer(town: Town) -> None:
    """A sloppy or hostile server says two answers to one question; the second is not the next one's."""

    async def main() -> list[Outcome]:
        async with routing(town) as router:
            return [await router.deliver(town.delivery("more than its length", f"occ_{n}")) for n in range(2)]

    # The second is asked on a connection of its own, and gets that one's first answer.
    for outcome in asyncio.run(main()):
        assert isinstance(outcome, Delivered)
        assert outcome.answer.excerpt == "hello"


def test_a_connection_whose_answer_was_framed_twice_is_not_used_again(town: Town) -> None:
    async def main() -> list[Outcome]:
        async with routing(town) as router:
            return [await router.deliver(town.delivery("length and chunks", f"occ_{n}")) for n in range(2)]

    # The second answer of a connection would be another one.
    for outcome in asyncio.run(main()):
        assert isinstance(outcome, Delivered)
        assert outcome.answer.excerpt == "hello"


def test_a_healthy_target_is_served_while_all_others_misbehave(town: Town) -> None:
    async def main() -> None:
        async with routing(town) as router:
            hanging = [
                asyncio.create_task(router.deliver(town.delivery(name, f"occ_{name}_{n}", timeout_s=20)))
                for name in HANGING
                for n in range(5)
            ]
            others = [
                asyncio.create_task(router.deliver(town.delivery(name, f"occ_{name}")))
                for name in MEANINGS
                if name not in HANGING
            ]
            for n in range(50):
                outcome = await router.deliver(town.delivery("healthy", f"occ_{n}", timeout_s=10))
                assert isinstance(outcome, Delivered)
            # Relative, so that a busy machine changes nothing: whoever hangs still hangs.
            assert not any(task.done() for task in hanging)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
            await asyncio.gather(*others)

    asyncio.run(main())


def status_bytes(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def forget_the_highest_mark() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@pytest.mark.skipif(sys.platform != "linux", reason="memory and descriptors are read from /proc")
def test_memory_and_descriptors_stay_bounded_under_everything_at_once(town: Town) -> None:
    async def main() -> None:
        async with routing(town) as router:

            async def everything() -> None:
                deliveries = [town.delivery(name, f"occ_{name}") for name in MEANINGS]
                outcomes = await asyncio.gather(*map(router.deliver, deliveries))
                for name, outcome in zip(MEANINGS, outcomes, strict=True):
                    assert isinstance(outcome, (Delivered, Refused, NoAnswer)), name

            await router.deliver(town.delivery("TLS: good"))  # what is loaded once is no leak
            await router.aclose()
            files = len(os.listdir("/proc/self/fd"))
            forget_the_highest_mark()
            memory = status_bytes("VmRSS")
            for _ in range(3):
                await everything()
                assert status_bytes("VmHWM") - memory <= MEMORY_BYTES_MAX
            await router.aclose()
            assert len(os.listdir("/proc/self/fd")) <= files

    asyncio.run(main())
