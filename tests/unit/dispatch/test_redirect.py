"""Where a redirect may lead, and what goes along."""

from __future__ import annotations

import pytest

from chronos.dispatch.http.redirect import RedirectRefused, follow
from chronos.dispatch.http.request import Request
from chronos.dispatch.http.url import parse_url
from chronos.model.signing import SigningKey

KEYS = (SigningKey("v1", bytes(32)),)
USER = {
    "Authorization": "Bearer t",
    "Cookie": "c=1",
    "X-Mine": "1",
    "Accept": "text/html",
    "Content-Type": "text/plain",
}


def a_request(url: str = "https://a.test/path?q=1", method: str = "POST") -> Request:
    return Request(method, parse_url(url), {"webhook-id": "occ_a", "webhook-timestamp": "1"}, dict(USER), b"body", KEYS)


@pytest.mark.parametrize(
    "location", ["http://a.test/", "http://a.test:443/", "HTTP://a.test/", "http://[::1]/", "http://other.test/"]
)
def test_a_redirect_never_leads_from_https_to_http(location: str) -> None:
    with pytest.raises(RedirectRefused, match="from https to http"):
        follow(a_request(), 307, location)


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/there", "https://a.test/there"),
        ("there", "https://a.test/there"),
        ("?x=2", "https://a.test/path?x=2"),
        ("//a.test/x", "https://a.test/x"),
        ("https://A.TEST:443/x#fragment", "https://a.test/x"),
    ],
)
@pytest.mark.parametrize("status", [307, 308])
def test_inside_the_origin_everything_goes_along(status: int, location: str, leads_to: str) -> None:
    after = follow(a_request(), status, location)
    assert after.url.origin + after.url.target == leads_to
    assert (after.method, after.body, after.user, after.keys) == ("POST", b"body", USER, KEYS)


@pytest.mark.parametrize("location", ["https://b.test/", "https://a.test:8443/", "https://a.test.b.test/", "//b.test"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_outside_of_it_body_credentials_signature_and_headers_stay_behind(status: int, location: str) -> None:
    after = follow(a_request(), status, location)
    assert (after.body, after.user, after.keys) == (b"", {"Accept": "text/html"}, ())
    assert not any(name.lower() == b"webhook-signature" for name, _ in after.lines())


def test_from_http_to_https_is_another_origin() -> None:
    after = follow(a_request("http://a.test/"), 307, "https://a.test/")
    assert (after.body, after.user, after.keys) == (b"", {"Accept": "text/html"}, ())


@pytest.mark.parametrize(("method", "after"), [("POST", "GET"), ("PUT", "GET"), ("GET", "GET"), ("HEAD", "HEAD")])
@pytest.mark.parametrize("status", [301, 302, 303])
def test_what_is_not_repeated_becomes_a_get_without_a_body(status: int, method: str, after: str) -> None:
    followed = follow(a_request(method=method), status, "/there")
    assert followed.method == after
    if after == "GET" != method:
        assert followed.body == b""
        assert "Content-Type" not in followed.user


@pytest.mark.parametrize(
    "location",
    [
        "ftp://a.test/",
        "javascript:alert(1)",
        "https://u:p@a.test/",
        "https://127.1/",
        "https://[::1",
        "\\\\b.test",
    ],
)
def test_a_strange_place_is_not_gone_to(location: str) -> None:
    with pytest.raises(RedirectRefused, match="the redirect's address"):
        follow(a_request(), 302, location)
