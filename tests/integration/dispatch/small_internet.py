"""A small internet in a network namespace of its own, and a server in it; run by `test_egress_namespace.py`.

    unshare --net --mount python -m tests.integration.dispatch.small_internet FOLDER

"Public" and "private" are addresses of the loopback device, since nothing here leads anywhere; names are served by a
name server that may change its mind. Prints what became of every job, as JSON.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from typing import Any, ClassVar

from tests.acceptance.served import served

from chronos.client import Client
from chronos.client.operations import trigger_job

PUBLIC, PRIVATE, LOOPBACK = "93.184.216.34", "10.9.8.7", "127.0.0.1"
PORT = 9000
TURNS = 12

NAMES: dict[str, Iterator[list[str]]] = {
    "public.example": cycle([[PUBLIC]]),
    "private.example": cycle([[PRIVATE]]),
    "mixed.example": cycle([[PUBLIC, PRIVATE]]),
    # Public when it is vetted, loopback when it is asked again: whoever asks twice is lost.
    "rebind.example": cycle([[PUBLIC], [LOOPBACK]]),
}

CONFIG = """\
dispatcher:
  egress:
    policy: public-only
"""


class Counting(BaseHTTPRequestHandler):
    """Counts requests by the address they came to; `/elsewhere` leads to the private one."""

    hits: ClassVar[Counter[str]] = Counter()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.hits[str(self.connection.getsockname()[0])] += 1
        leads_elsewhere = self.path == "/elsewhere"
        self.send_response(307 if leads_elsewhere else 200)
        if leads_elsewhere:
            self.send_header("Location", f"http://private.example:{PORT}/")
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")  # so that each attempt looks its name up
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def furnish(folder: Path) -> None:
    """Give this namespace its addresses and its resolver. Needs to be root in it."""
    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "address", "add", f"{PUBLIC}/32", "dev", "lo"],
        ["ip", "address", "add", f"{PRIVATE}/32", "dev", "lo"],
    ):
        subprocess.run(command, check=True)
    for path, text in (
        ("/etc/resolv.conf", f"nameserver {LOOPBACK}\noptions timeout:2 attempts:2\n"),
        ("/etc/nsswitch.conf", "hosts: files dns\n"),
    ):
        own = folder / Path(path).name
        own.write_text(text)
        subprocess.run(["mount", "--bind", str(own), path], check=True)


def serve_names() -> None:
    """Answer A questions from `NAMES`, and every other one with nothing."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((LOOPBACK, 53))

    def serve() -> None:
        while True:
            question, client = server.recvfrom(512)
            server.sendto(reply_to(question), client)

    threading.Thread(target=serve, daemon=True).start()


def reply_to(question: bytes) -> bytes:
    """Return the reply to a DNS question, good for zero seconds."""
    labels, at = [], 12
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode())
        at += 1 + length
    kind = struct.unpack("!H", question[at + 1 : at + 3])[0]
    name = ".".join(labels).lower()
    addresses = next(NAMES[name]) if kind == 1 and name in NAMES else []
    head = question[:2] + struct.pack("!HHHHH", 0x8580, 1, len(addresses), 0, 0)
    records = [b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(address) for address in addresses]
    return head + question[12 : at + 5] + b"".join(records)


def run_once(client: Client, job_id: str) -> list[str]:
    """Run a job and return its status, and the class and words of its last attempt's error."""
    run = client.fetch(trigger_job(job_id, wait="20s"))
    attempts = run.get("attempts") or [{}]
    return [run["status"], attempts[-1].get("error_class") or "", attempts[-1].get("error") or ""]


def main(folder: Path) -> None:
    furnish(folder)
    serve_names()
    for address in (PUBLIC, PRIVATE, LOOPBACK):
        server = ThreadingHTTPServer((address, PORT), Counting)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    config = folder / "chronos.yaml"
    config.write_text(CONFIG)
    targets: dict[str, dict[str, Any]] = {
        "public": {"url": f"http://public.example:{PORT}/"},
        "public-literal": {"url": f"http://{PUBLIC}:{PORT}/"},
        "private": {"url": f"http://private.example:{PORT}/"},
        "private-literal": {"url": f"http://{PRIVATE}:{PORT}/"},
        "loopback-mapped": {"url": f"http://[::ffff:7f00:1]:{PORT}/"},
        "mixed": {"url": f"http://mixed.example:{PORT}/"},
        "redirected": {"url": f"http://public.example:{PORT}/elsewhere", "follow_redirects": 2},
        "rebinding": {"url": f"http://rebind.example:{PORT}/"},
    }
    results: dict[str, list[list[str]]] = {}
    with served(folder / "data", "--config", str(config)) as chronos, Client(chronos.url) as client:
        for name, target in targets.items():
            spec = {"name": name, "schedule": "@yearly", "retry_policy": {"max_attempts": 1}}
            job = client.create_job({**spec, "target": {"type": "http", **target}})
            turns = TURNS if name == "rebinding" else 1
            results[name] = [run_once(client, job.id) for _ in range(turns)]
        own = client.create_job(
            {"name": "own", "schedule": "@yearly", "target": {"type": "http", "url": f"{chronos.url}/health"}}
        )
        results["own"] = [run_once(client, own.id)]
    print(json.dumps({"results": results, "hits": Counting.hits}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
