"""`chronos health`: one question to the server on this machine, for supervisors that run a command."""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click

from chronos.cli.configured import USAGE, config_file, load_config

FAILED = 1
SAID_MAX = 4_096
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  # what is listened on, and where to ask then


@click.command()
@click.option("--url", help="Where the server is. [default: what the configuration says]")
@click.option("--config", "config", envvar="CHRONOS_CONFIG", type=click.Path(path_type=Path), help="YAML file.")
@click.option("--ready", "path", flag_value="/ready", help="Ask whether it takes requests, not only whether it lives.")
@click.option(
    "--timeout", "timeout_s", default=5.0, show_default=True, type=click.FloatRange(0.1, 300), help="Seconds."
)
def health(url: str | None, config: Path | None, path: str | None, timeout_s: float) -> None:
    """Ask the server on this machine whether it lives. Exit code 0 when it says so, 1 when not.

    Needs no key. A certificate is not verified: it is the same machine, and nothing is sent.
    """
    status, said = _ask(url or _configured(config), path or "/health", timeout_s)
    click.echo(said)
    sys.exit(0 if status == http.client.OK else FAILED)


def _configured(config: Path | None) -> str:
    """Return the address of the server that is configured as this command is."""
    settings = load_config(config_file(config), {}, os.environ).settings.server.http
    host, _, port = settings.address.rpartition(":")
    if port == "0":
        click.echo(
            "chronos: the server takes a free port (`server.http.address`); say where it is with --url.", err=True
        )
        sys.exit(USAGE)
    return f"{'https' if settings.tls.enabled else 'http'}://{EVERYWHERE.get(host, host)}:{port}"


def _ask(url: str, path: str, timeout_s: float) -> tuple[int, str]:
    """Return the status of the answer, 0 when there is none, and what to print."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https"):
        click.echo(f"chronos: {url} is not the address of a server, like http://127.0.0.1:8080.", err=True)
        sys.exit(USAGE)
    connection = _connection(parts.scheme, host, port, timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(SAID_MAX).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as exc:
        return 0, f"{url} does not answer: {exc}"
    finally:
        connection.close()


def _connection(scheme: str, host: str, port: int | None, timeout_s: float) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
