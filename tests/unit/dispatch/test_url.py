"""The strict URL parser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.dispatch.http.url import HttpUrl, join_url, parse_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://example.com", HttpUrl("http", "example.com", 80, "/")),
        ("HTTPS://Example.COM/a?b=c#d", HttpUrl("https", "example.com", 443, "/a?b=c")),
        ("http://example.com:8080?x", HttpUrl("http", "example.com", 8080, "/?x")),
        ("http://10.0.0.1/", HttpUrl("http", "10.0.0.1", 80, "/")),
        ("http://[::1]:81/", HttpUrl("http", "::1", 81, "/")),
        ("http://[2001:DB8::0:1]/", HttpUrl("http", "2001:db8::1", 80, "/")),
        ("http://my_service/", HttpUrl("http", "my_service", 80, "/")),
        ("http://xn--bcher-kva.example/", HttpUrl("http", "xn--bcher-kva.example", 80, "/")),
        ("http://1.example/", HttpUrl("http", "1.example", 80, "/")),
    ],
)
def test_a_url_is_taken_apart(text: str, url: HttpUrl) -> None:
    assert parse_url(text) == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "http://"),
        ("example.com", "http://"),
        ("ftp://example.com/", "http://"),
        ("file:///etc/passwd", "http://"),
        ("gopher://example.com/", "http://"),
        ("javascript:alert(1)", "http://"),
        ("http:example.com", "http://"),
        ("http:///path", "no host"),
        ("http://:80/", "no host"),
        ("http://user@example.com/", "user name"),
        ("http://user:pw@example.com/", "user name"),
        ("http://example.com@evil.test/", "user name"),
        ("http://example.com\\@evil.test/", "backslash"),
        ("http://exam ple.com/", "contains"),
        ("http://example.com/a b", "contains"),
        ("http://example.com/\r\nX: y", "contains"),
        ("http://example.com/\n", "contains"),
        ("http://example.com/\0", "contains"),
        ("http://example.com/\t", "contains"),
        ("http://bücher.example/", "contains"),
        ("http://①②⑦.⓪.⓪.①/", "contains"),
        ("http://example.com:0/", "port"),
        ("http://example.com:65536/", "port"),
        ("http://example.com:/", "port"),
        ("http://example.com:8a/", "port"),
        ("http://example.com:+80/", "port"),
        ("http://example.com:80:90/", "port"),
        ("http://127.1/", "odd IPv4"),
        ("http://0x7f000001/", "odd IPv4"),
        ("http://0x7f.0.0.1/", "odd IPv4"),
        ("http://0177.0.0.1/", "odd IPv4"),
        ("http://2130706433/", "odd IPv4"),
        ("http://0/", "odd IPv4"),
        ("http://127.0.0.1.2/", "odd IPv4"),
        ("http://example.0x1/", "odd IPv4"),
        ("http://256.1.1.1/", "odd IPv4"),
        ("http://127.0.0.1./", "neither"),
        ("http://localhost./", "neither"),
        ("http://ok@127.0.0.1/", "user name"),
        ("http://ok%40127.0.0.1/", "odd IPv4"),
        ("http://①27.0.0.1/", "contains"),
        ("http://127。0。0。1/", "contains"),
        ("http://[::ffff:127.0.0.1%251]/", "zone"),
        ("http://example.com./", "neither"),
        ("http://-example.com/", "neither"),
        ("http://exa%6dple.com/", "neither"),
        ("http://a..b/", "neither"),
        ("http://" + "a" * 64 + ".test/", "neither"),
        ("http://[::1/", "IPv6"),
        ("http://[::1]x/", "IPv6"),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("http://::1/", "no host"),
        ("http://[127.0.0.1]/", "IPv6"),
        ("http://example.com/" + "a" * 9_000, "longer"),
    ],
)
def test_anything_else_is_refused_and_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        parse_url(text)


@given(st.text(max_size=60))
def test_whatever_is_accepted_is_made_of_printable_ascii_and_names_one_host(tail: str) -> None:
    try:
        url = parse_url("http://" + tail)
    except ValueError:
        return
    assert all("!" <= c <= "~" for c in url.target + url.authority)
    assert not set(url.host) & set("/?#@\\[]% ")
    assert parse_url(url.origin + url.target) == url


@pytest.mark.parametrize(
    ("location", "there"),
    [
        ("/b", "http://a.test/b"),
        ("c?d", "http://a.test/x/c?d"),
        ("//b.test/", "http://b.test/"),
        ("https://b.test:8/", "https://b.test:8/"),
    ],
)
def test_a_location_is_read_from_where_it_was_said(location: str, there: str) -> None:
    joined = join_url(parse_url("http://a.test/x/y"), location)
    assert joined.origin + joined.target == there


def test_the_authority_names_the_port_only_where_it_has_to() -> None:
    assert parse_url("http://a.test:80/").authority == "a.test"
    assert parse_url("https://a.test:80/").authority == "a.test:80"
    assert parse_url("http://[::1]/").authority == "[::1]"
