"""The one URL parser: strict, so that what is vetted is what is called."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import urljoin

from msgspec import Struct

_SHAPE = re.compile(
    r"(?P<scheme>[A-Za-z]+)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?P<fragment>#.*)?"
)
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_ODD = re.compile(r"[^!-~]")
_PORTS = {"http": 80, "https": 443}
URL_CHARS_MAX = 8_192
URLS_KEPT = 10_000


class HttpUrl(Struct, frozen=True):
    """An absolute URL, taken apart.

    Attributes:
        host: Lower case; an IPv6 address without its brackets.
        target: Path and query as they go on the wire, never empty.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port as a `Host` header names them: the port only where it is not the scheme's."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"


@lru_cache(URLS_KEPT)  # every delivery asks twice: for its host's breaker, and to be sent
def parse_url(text: str) -> HttpUrl:
    """Return `text` taken apart.

    Raises:
        ValueError: It is not a URL this server calls; the message says why.
    """
    if len(text) > URL_CHARS_MAX:
        raise ValueError(f"is longer than {URL_CHARS_MAX:,} characters")
    if bad := _ODD.search(text):
        raise ValueError(f"contains {bad[0]!r}; write it percent-encoded (a host name: in its `xn--` form)")
    if "\\" in text:
        raise ValueError("contains a backslash; write `/`")
    match = _SHAPE.fullmatch(text)
    if match is None or match["scheme"].lower() not in _PORTS:
        raise ValueError("must begin with http:// or https://")
    scheme = match["scheme"].lower()
    host, port = _host_and_port(match["authority"])
    target = (match["path"] or "/") + (match["query"] or "")
    return HttpUrl(scheme, host, _PORTS[scheme] if port is None else port, target)


def join_url(base: HttpUrl, location: str) -> HttpUrl:
    """Return where `location` leads, seen from `base`.

    Raises:
        ValueError: It leads nowhere this server goes.
    """
    return parse_url(urljoin(base.origin + base.target, location))


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise ValueError("contains a user name or password; use `auth: {type: basic, username, password}` instead")
    if authority.startswith("["):
        literal, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("has a broken IPv6 address")
        return _v6(literal), _port(rest[1:] if rest else None)
    host, colon, port = authority.partition(":")
    return _name_or_v4(host), _port(port if colon else None)


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65_535:
        raise ValueError("has a port that is not between 1 and 65535")
    return int(text)


def _v6(literal: str) -> str:
    try:
        if "%" in literal:
            raise ValueError("has an IPv6 address with a zone; leave out the `%…`")
        return str(IPv6Address(literal))
    except AddressValueError:
        raise ValueError("has a broken IPv6 address") from None


def _name_or_v4(host: str) -> str:
    if not host:
        raise ValueError("has no host")
    labels = host.split(".")
    # `127.1`, `0x7f000001`, `0177.0.0.1` and `2130706433` are all 127.0.0.1 to a resolver.
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise ValueError("has an odd IPv4 address; write it as four decimal numbers") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("has a host that is neither a name nor an address")
    return host.lower()
