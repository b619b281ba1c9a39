"""Spans of a repetition's runs, where a collector was named. The environment has OpenTelemetry's own names.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from chronos import __version__
from chronos.cli.rpr.asked import Asked
from chronos.errors import ConfigInvalid, Invalid
from chronos.repeater.exporting import Collector, Exporter, post_to
from chronos.repeater.spans import Tracer, document, parent_in
from chronos.timing.clock import Chance

TRACES = "/v1/traces"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")


def trace(asked: Asked, environ: Mapping[str, str], chance: Chance, stack: contextlib.ExitStack) -> Tracer | None:
    """Return what makes spans of runs; None when the environment switches them off.

    Raises:
        Invalid: What was named is no collector.
    """
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    collector = collector_at(asked.get("otlp_endpoint"), pairs("OTEL_EXPORTER_OTLP_HEADERS", environ))
    resource = resource_of(environ)
    is_quiet = asked.is_on("quiet") or asked.get("log_level") == "error"
    exporter = stack.enter_context(_exporting(collector, resource, is_quiet=is_quiet))
    parent = parent_in(environ.get("TRACEPARENT", ""))
    key = chance.bytes(32)
    return Tracer(key, parent, mode=asked.subcommand.name, argv=asked.plan.argv, add=exporter.add)


@contextlib.contextmanager
def _exporting(collector: Collector, resource: Mapping[str, str | int], *, is_quiet: bool) -> Iterator[Exporter]:
    def made(spans: Sequence[bytes]) -> bytes:
        return document(resource, __version__, spans)

    exporter = Exporter(made, post_to(collector))
    try:
        yield exporter
    finally:
        exporter.close()
        lost, why = exporter.lost
        if lost and not is_quiet:
            _warn(f"{lost} span{'s' if lost > 1 else ''} did not reach {collector}: {why}")


def _warn(message: str) -> None:
    """Say it on stderr. Nothing depends on it, the exit code least of all."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"Warning: {message}\n")
        sys.stderr.flush()


def collector_at(url: str, headers: Mapping[str, str]) -> Collector:
    """Return the collector that an OTLP endpoint names; the path of traces is put behind the one that it has.

    Raises:
        Invalid: It is no http:// or https:// URL, or has parts that an endpoint has not.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError as exc:
        raise _not_an_endpoint(url, str(exc)) from None
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch(r"[!-~]+", url):
        raise _not_an_endpoint(url, "it is no http:// or https:// URL")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise _not_an_endpoint(url.rpartition("@")[2], "it may have host, port and path only")
    return Collector(host, port, parts.path.rstrip("/") + TRACES, parts.scheme == "https", headers)


def _not_an_endpoint(url: str, why: str) -> Invalid:
    return Invalid(
        f"`{url}` is no OTLP endpoint: {why}. Write for example --otlp-endpoint http://localhost:4318 (or "
        "`observability.otlp_endpoint`, or OTEL_EXPORTER_OTLP_ENDPOINT; OTEL_SDK_DISABLED=true leaves spans out)."
    )


def resource_of(environ: Mapping[str, str]) -> dict[str, str | int]:
    """Return what is said about us; what the environment says wins.

    Raises:
        ConfigInvalid: It cannot be read.
    """
    ours: dict[str, str | int] = {
        "service.name": "rpr",
        "service.version": __version__,
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
    }
    named = environ.get("OTEL_SERVICE_NAME")
    theirs = pairs("OTEL_RESOURCE_ATTRIBUTES", environ)
    return {**ours, **theirs, **({"service.name": named} if named else {})}


def pairs(variable: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the `name=value,name=value` of a variable, percent-decoded.

    Raises:
        ConfigInvalid: It is something else. The message has no value: it may be a key.
    """
    found = {}
    for number, pair in enumerate(filter(str.strip, environ.get(variable, "").split(",")), 1):
        name, equals, value = pair.partition("=")
        name, value = name.strip(), unquote(value.strip())
        if not equals or not _NAME.fullmatch(name) or not (_VALUE.fullmatch(value) or "HEADERS" not in variable):
            raise ConfigInvalid(f"{variable}: pair {number} is not of the form name=value (percent-encoded).")
        found[name] = value
    return found
