"""Mutual TLS between members: what a node shows, and whom it lets in. TLS 1.3, and the cluster's own authority only."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from chronos.cluster.certificates import CertificateUnusable, named, read_certificate
from chronos.cluster.peers.roster import Identity
from chronos.errors import ConfigInvalid
from chronos.timing.clock import Clock

log = structlog.get_logger("chronos.peers")

_FOR_ALL = 0o007


class TlsFiles(NamedTuple):
    """A node's certificate, its key, and the authority of its cluster; PEM."""

    certificate: Path
    key: Path
    authority: Path


class Credentials:
    """What this node shows. Files that were replaced are read anew before the next connection; those open stay.

    Raises:
        ConfigInvalid: The files cannot be used, or are another node's.
    """

    def __init__(self, files: TlsFiles, own: Identity, clock: Clock) -> None:
        self._files = files
        self._own = own
        self._clock = clock
        self._seen: list[tuple[int, int, int]] = []
        self._contexts: tuple[ssl.SSLContext, ssl.SSLContext]
        self.not_after_s = 0.0
        self._load()

    def server(self) -> ssl.SSLContext:
        """Return what a listener greets with."""
        return self._current()[0]

    def client(self) -> ssl.SSLContext:
        """Return what a caller calls with."""
        return self._current()[1]

    def _current(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        try:
            if _stamps(self._files) != self._seen:
                self._load()
        except (ConfigInvalid, OSError) as exc:
            # They may be half replaced; what was read before is good until it expires.
            log.warning("certificate_not_read_anew", reason=str(exc))
        return self._contexts

    def _load(self) -> None:
        seen = _stamps(self._files)
        self._check()
        self._contexts = (_context(self._files, is_server=True), _context(self._files, is_server=False))
        self._seen = seen

    def _check(self) -> None:
        files = self._files
        if files.key.stat().st_mode & _FOR_ALL:
            raise ConfigInvalid(f"`cluster.tls.key_file`: {files.key} can be used by everybody here; `chmod 600` it.")
        try:
            shown = read_certificate(files.certificate)
        except CertificateUnusable as exc:
            raise ConfigInvalid(f"`cluster.tls.cert_file`: {exc}") from exc
        if (shown.cluster, shown.node) != self._own:
            whose = f"of node `{shown.node}` of cluster {shown.cluster}" if shown.node else "no member's"
            raise ConfigInvalid(
                f"`cluster.tls.cert_file`: {files.certificate} is {whose}; this is node `{self._own.node}` of cluster "
                f"{self._own.cluster}."
            )
        self.not_after_s = shown.not_after.timestamp()
        if self.not_after_s <= self._clock.time():
            raise ConfigInvalid(
                f"`cluster.tls.cert_file`: {files.certificate} expired at {shown.not_after:%Y-%m-%dT%H:%M:%SZ}; "
                "`chronos cluster renew` makes a new one where `chronos cluster init` ran."
            )


def identity_in(certificate: Mapping[str, Any] | None) -> Identity | None:
    """Return whose certificate this is, as `ssl` shows one it has verified; None when it names not exactly one node."""
    names = [value for kind, value in (certificate or {}).get("subjectAltName", ()) if kind == "URI"]
    found = named(names[0]) if len(names) == 1 else None
    return None if found is None else Identity(*found)


def expiry_in(certificate: Mapping[str, Any]) -> float:
    """Return when a certificate ends, in seconds since the epoch."""
    return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))


def _stamps(files: TlsFiles) -> list[tuple[int, int, int]]:
    try:
        found = [path.stat() for path in files]
    except OSError as exc:
        raise ConfigInvalid(f"`cluster.tls`: {exc.filename} cannot be read: {(exc.strerror or '').lower()}.") from exc
    return [(stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in found]


def _context(files: TlsFiles, *, is_server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Who answers is known by the name in the certificate, which `identity_in` reads: addresses change, names do not.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if is_server:
        context.num_tickets = 0  # every connection shows its certificate
    try:
        context.load_verify_locations(files.authority)
        context.load_cert_chain(files.certificate, files.key)
    except (ssl.SSLError, OSError) as exc:
        names = ", ".join(str(path) for path in files)
        raise ConfigInvalid(f"`cluster.tls`: {names} cannot be used together: {exc}.") from exc
    return context
