"""What an HTTP delivery costs: the client that ships beside a library client, both behind the same dispatcher.

    python bench/http_client.py [--json] [--requests N] [--in-flight N] [--scheme http|https|both] [--loop LOOP]

Keep-alive POSTs to a sink of its own process, 128 in flight. The figure is CPU microseconds of this process per
delivery, templates, judgement and all, by the client that ships over http; `exchange` is the client alone.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from bench.report import Report, cpu_s, parser, percentiles, tell
from tests.conformance.dispatch.library_client import LibraryClient
from tests.integration.dispatch.certificates import write_certificate
from tests.integration.dispatch.samples import a_delivery
from tests.unit.dispatch.wires import exchanged

from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.http import HttpDispatcher, HttpSettings
from chronos.dispatch.http.dispatcher import hot_client
from chronos.dispatch.http.exchange import HttpClient, Wanted
from chronos.dispatch.http.request import build_request
from chronos.dispatch.port import Delivered, Delivery
from chronos.model.target import HttpTarget
from chronos.timing.clock import SystemClock

ROOT = Path(__file__).resolve().parents[1]
BUDGET_US = 60.0
BODY = '{"report": "nightly", "rows": [1, 2, 3]}'
ROUNDS = 3

Run = Callable[[int], Awaitable[None]]


@contextmanager
def sink(certificate: Path | None) -> Iterator[tuple[int, dict[str, float]]]:
    """Run a sink; yields its port and, afterwards, what it used."""
    used: dict[str, float] = {}
    command = [sys.executable, "-m", "bench.answerer", *([str(certificate)] if certificate else [])]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        yield int(program.stdout.readline()), used
        used.update(msgspec.json.decode(program.communicate("")[0]))


async def timed(run: Run, requests: int, in_flight: int) -> dict[str, Any]:
    """Return CPU microseconds per request, requests per second, and the percentiles of the wait in milliseconds."""
    numbers = iter(range(requests))
    waits: list[float] = []

    async def one_after_the_other() -> None:
        for number in numbers:
            begun = time.perf_counter()
            await run(number)
            waits.append((time.perf_counter() - begun) * 1_000)

    cpu, begun = cpu_s(), time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))
    used, passed = cpu_s() - cpu, time.perf_counter() - begun
    return {
        "cpu_us": round(used / requests * 1e6, 2),
        "per_s": round(requests / passed),
        **{f"{name}_ms": value for name, value in percentiles(waits).items()},
    }


async def measured(client: HttpClient, url: str, chosen: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return what whole deliveries and bare exchanges cost: the best of three rounds each."""
    target = HttpTarget(url=url, body=BODY)
    guard, clock = EgressGuard(), SystemClock()
    dispatcher = HttpDispatcher(guard, clock, client=client)
    wanted = Wanted((plain := build_request(a_delivery(target), target, 0.0)).url, "POST", plain.wire())

    async def deliver(number: int) -> None:
        assert isinstance(await dispatcher.deliver(numbered(target, number)), Delivered)

    async def exchange(_: int) -> None:
        assert (await exchanged(client, wanted)).status == 200

    await timed(deliver, chosen.in_flight * 2, chosen.in_flight)  # warm: connections, caches
    results = {}
    for name, run in (("deliver", deliver), ("exchange", exchange)):
        rounds = [await timed(run, chosen.requests // ROUNDS, chosen.in_flight) for _ in range(ROUNDS)]
        results[name] = min(rounds, key=lambda each: each["cpu_us"])
    await dispatcher.aclose()
    return results


def numbered(target: HttpTarget, number: int) -> Delivery:
    return a_delivery(target, execution_id=f"occ_{number:032d}", attempt=1)


async def both(port: int, scheme: str, ca_file: Path | None, chosen: argparse.Namespace) -> dict[str, Any]:
    """Return what each client costs over `scheme`."""
    settings = HttpSettings(ca_file=str(ca_file) if ca_file else None)
    guard, clock = EgressGuard(), SystemClock()
    clients: dict[str, HttpClient] = {"hot": hot_client(guard, clock, settings)}
    if not chosen.alone:
        clients["library"] = LibraryClient(guard, clock, settings)
    url = f"{scheme}://127.0.0.1:{port}/hook"
    return {name: await measured(client, url, chosen) for name, client in clients.items()}


def measure(chosen: argparse.Namespace) -> Report:
    results: dict[str, Any] = {}
    sinks: dict[str, float] = {}
    new_loop = uvloop.new_event_loop if chosen.loop == "uvloop" else asyncio.new_event_loop
    with tempfile.TemporaryDirectory() as folder:
        certificate = write_certificate(Path(folder) / "sink.pem", names=["127.0.0.1"])
        for scheme in ("http", "https") if chosen.scheme == "both" else (chosen.scheme,):
            ca_file = certificate if scheme == "https" else None
            with sink(ca_file) as (port, used), asyncio.Runner(loop_factory=new_loop) as runner:
                results[scheme] = runner.run(both(port, scheme, ca_file, chosen))
            sinks[f"sink {scheme}"] = used["cpu_s"]
    shipped = next(iter(results.values()))["hot"]["deliver"]
    return Report(
        bench="http_client",
        figure=shipped["cpu_us"],
        unit="us CPU",
        percentiles={},
        cpu_s={"client": round(cpu_s(), 2), **sinks},
        settings={name: getattr(chosen, name) for name in ("requests", "in_flight", "loop")},
        details=results,
        budget=BUDGET_US,
    )


def main() -> int:
    line = parser(__doc__)
    line.add_argument("--requests", type=int, default=60_000)
    line.add_argument("--in-flight", type=int, default=128)
    line.add_argument("--scheme", choices=("http", "https", "both"), default="both")
    line.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    line.add_argument("--alone", action="store_true", help="without the library client")
    return tell(measure(line.parse_args()), line.parse_args())


if __name__ == "__main__":
    sys.exit(main())
