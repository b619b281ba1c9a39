"""Small HTTP servers for health and metrics, each in a thread of its own. They know pages and nothing else."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from chronos.errors import Invalid

REQUEST_S = 5.0
Page = Callable[[], tuple[int, str, bytes]]
"""Returns status, content type and body."""


@contextmanager
def served(name: str, address: str, port: int, pages: Mapping[str, Page]) -> Iterator[int]:
    """Serve `pages` by path while the context lasts; yield the port.

    One request at a time, each within five seconds: whoever asks is a probe, and the command comes first.

    Raises:
        Invalid: Nothing can listen there.
    """
    try:
        server = http.server.HTTPServer((address, port), _handler(pages))
    except (OSError, OverflowError) as exc:
        raise Invalid(f"{name}: cannot listen on {address}:{port}: {exc}. Name another port.") from None
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name=f"rpr-{name}", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(REQUEST_S)
        server.server_close()


def _handler(pages: Mapping[str, Page]) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = REQUEST_S
        server_version = "rpr"
        sys_version = ""

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            status, kind, body = page() if page else (404, "text/plain; charset=utf-8", b"not found\n")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, _format: str, *_: object) -> None:
            """Stderr is the command's."""

    return Handler
