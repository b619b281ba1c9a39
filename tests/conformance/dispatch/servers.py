"""Servers by others, each in a process of its own, which all do the same: echo, stream, refuse, redirect, say goodbye.

| path | answer |
|---|---|
| `/echo` | the body that came, with its length |
| `/chunks` | `0` to `9` in ten chunks |
| `/status/503` | that status, and `Retry-After: 7` |
| `/redirect` | 307 to `/echo` |
| `/close` | the body that came, and the end of the connection |

Every server ends a connection after a few requests, between an answer and the next request.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

READY_S = 60.0
REQUESTS_MAX = 20

UVICORN = """\
import sys
import uvicorn


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    path, status, headers, pieces = scope["path"], 200, [], [body]
    if path.startswith("/status/"):
        status, headers = int(path[8:]), [(b"retry-after", b"7")]
        pieces = [] if status in (204, 304) else [b"refused"]
    elif path == "/redirect":
        status, headers = 307, [(b"location", b"/echo")]
    elif path == "/close":
        headers = [(b"connection", b"close")]
    if path == "/chunks":
        pieces = [b"%d" % n for n in range(10)]
    elif pieces:
        headers.append((b"content-length", b"%d" % sum(map(len, pieces))))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


port, folder = int(sys.argv[1]), sys.argv[2]
tls = {"ssl_certfile": folder + "/server.pem"} if len(sys.argv) > 3 else {}
uvicorn.run(app, port=port, http="httptools", log_level="critical", **tls)
"""

NODE = """\
const fs = require("node:fs");
const [port, folder, secure] = process.argv.slice(2);
function answer(request, response) {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", async () => {
    const body = Buffer.concat(pieces);
    if (request.url.startsWith("/status/")) {
      response.writeHead(Number(request.url.slice(8)), { "Retry-After": "7" });
      response.end("refused");
    } else if (request.url === "/redirect") {
      response.writeHead(307, { Location: "/echo" });
      response.end();
    } else if (request.url === "/chunks") {
      if (response.writeEarlyHints) response.writeEarlyHints({ link: "</style.css>; rel=preload" });
      for (let n = 0; n < 10; n++) { response.write(String(n)); await new Promise(setImmediate); }
      response.end();
    } else {
      const headers = { "Content-Length": body.length };
      if (request.url === "/close") headers.Connection = "close";
      response.writeHead(200, headers);
      response.end(body);
    }
  });
}
const pem = secure && fs.readFileSync(folder + "/server.pem");
const server = secure
  ? require("node:https").createServer({ cert: pem, key: pem }, answer)
  : require("node:http").createServer(answer);
server.maxRequestsPerSocket = 20;
server.listen(Number(port), "127.0.0.1");
"""

GO = """\
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func answer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch {
	case strings.HasPrefix(r.URL.Path, "/status/"):
		status, _ := strconv.Atoi(r.URL.Path[8:])
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		io.WriteString(w, "refused")
	case r.URL.Path == "/redirect":
		w.Header().Set("Location", "/echo")
		w.WriteHeader(307)
	case r.URL.Path == "/chunks":
		w.WriteHeader(103)
		for n := 0; n < 10; n++ {
			fmt.Fprintf(w, "%d", n)
			w.(http.Flusher).Flush()
		}
	default:
		if r.URL.Path == "/close" {
			w.Header().Set("Connection", "close")
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
	}
}

func main() {
	server := &http.Server{Addr: "127.0.0.1:" + os.Args[1], Handler: http.HandlerFunc(answer)}
	if len(os.Args) > 3 {
		pem := os.Args[2] + "/server.pem"
		server.ListenAndServeTLS(pem, pem)
	} else {
		server.ListenAndServe()
	}
}
"""

# Nginx echoes what it has been told to proxy; the Python server behind it does the rest.
NGINX = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr emerg;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 20;
  server {{
    listen 127.0.0.1:{port} {secure};
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/server.pem;
    location / {{
      proxy_pass http://127.0.0.1:{behind};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_redirect off;
    }}
  }}
}}
"""


def tool(name: str) -> str:
    """Return a program's path; its test is skipped where it is missing, and fails in CI."""
    if (found := shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")) is None:
        assert not os.environ.get("CHRONOS_REQUIRE_SERVICES"), f"{name} is missing; `make services` installs it"
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """Run a server until the block is left; yields its port as soon as it listens."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as program:
        try:
            asyncio.run(listening(port, program))
            yield port
        finally:
            program.terminate()
            try:
                program.wait(5)
            except subprocess.TimeoutExpired:
                program.kill()


async def listening(port: int, program: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(READY_S):
        while program.poll() is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)  # a program by others tells nobody that it listens
            else:
                writer.close()
                return
    assert program.stderr is not None
    pytest.fail(f"{program.args!r} ended: {program.stderr.read().decode()[-2_000:]}")


@contextmanager
def uvicorn(folder: Path, secure: list[str]) -> Iterator[int]:
    (folder / "app.py").write_text(UVICORN)
    with running([sys.executable, str(folder / "app.py"), str(port := free_port()), str(folder), *secure], port):
        yield port


@contextmanager
def node(folder: Path, secure: list[str]) -> Iterator[int]:
    (folder / "app.js").write_text(NODE)
    with running([tool("node"), str(folder / "app.js"), str(port := free_port()), str(folder), *secure], port):
        yield port


@contextmanager
def go(folder: Path, secure: list[str]) -> Iterator[int]:
    (folder / "go.mod").write_text("module target\n\ngo 1.19\n")
    (folder / "main.go").write_text(GO)
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    subprocess.run([tool("go"), "build", "-o", "target", "."], cwd=folder, env=environment, check=True, timeout=110)
    with running([str(folder / "target"), str(port := free_port()), str(folder), *secure], port):
        yield port


@contextmanager
def nginx(folder: Path, secure: list[str]) -> Iterator[int]:
    program = tool("nginx")
    with uvicorn(folder, []) as behind:
        port = free_port()
        text = NGINX.format(folder=folder, port=port, behind=behind, secure="ssl" if secure else "")
        (folder / "nginx.conf").write_text(text)
        with running([program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"], port):
            yield port


Serve = Callable[[Path, list[str]], AbstractContextManager[int]]
SERVERS: dict[str, Serve] = {"uvicorn": uvicorn, "node": node, "go": go, "nginx": nginx}
