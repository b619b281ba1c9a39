"""Dkron: one server that elects itself; jobs through its API; argv: the program, what is asked."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from socket import socket

from hook import asked, headers, instant

START_S = 60
LOOK_S = 0.2
MAKING = 8


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    found = [socket() for _ in range(count)]
    for one in found:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in found]
    for one in found:
        one.close()
    return ports


def body(work: dict, number: int, due: float) -> dict:
    """Return a job. One that recurs is not told its instant: the target takes the second of the arrival."""
    recurs = work["shape"] == "every-second"
    told = [f"{name}: {value}" for name, value in headers(f"job-{number}", due).items()]
    return {
        "name": f"job-{number}",
        "schedule": "* * * * * *" if recurs else f"@at {instant(due).isoformat()}",
        "timezone": "UTC",
        "concurrency": "allow",
        "executor": "http",
        "executor_config": {
            "method": "POST",
            "url": work["url"],
            "headers": json.dumps(told),
            "body": "{}",
            "timeout": "30",
            "expectCode": "200",
        },
    }


def call(url: str, data: dict | None = None) -> bytes:
    content = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    with closing(urllib.request.urlopen(request, timeout=30)) as answer:
        return answer.read()


def wait_for_leader(api: str) -> None:
    """Return when the server leads."""
    for _ in range(int(START_S / LOOK_S)):
        try:
            if call(f"{api}/leader"):
                return
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(LOOK_S)
    sys.exit(f"it did not lead within {START_S} s")


def main() -> None:
    work, (http, serf, rpc) = asked(), free_ports(3)
    names = ["agent", "--server", "--bootstrap-expect", "1", "--node-name", "bench", "--log-level", "error"]
    places = ["--data-dir", work["folder"], "--http-addr", f"127.0.0.1:{http}", "--bind-addr", f"127.0.0.1:{serf}"]
    agent = subprocess.Popen([sys.argv[1], *names, *places, "--rpc-port", str(rpc)], stdout=sys.stderr)
    api = f"http://127.0.0.1:{http}/v1"
    wait_for_leader(api)
    with ThreadPoolExecutor(MAKING) as makers:
        bodies = [body(work, number, due) for number, due in enumerate(work["dues"])]
        list(makers.map(lambda one: call(f"{api}/jobs", one), bodies))
    print("ready", flush=True)
    agent.wait()


if __name__ == "__main__":
    main()
