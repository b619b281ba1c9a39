from __future__ import annotations

import random
from typing import Any

import pytest
from tests.unit.scheduler.harness import a_spec

from chronos.errors import JobInvalid
from chronos.model.job import JobSpec
from chronos.model.notify import NotifySlack, NotifyWebhook
from chronos.model.sealing import SealBroken, Sealer
from chronos.model.secret import STARS, map_credentials
from chronos.model.target import BearerAuth, HttpTarget
from chronos.scheduler.credentials import origin_of, seal_credentials
from chronos.timing.clock import SeededChance

SEALER = Sealer(bytes(32), SeededChance(random.Random(1)))
URL = "https://a.example/run"


def spec(*, url: str = URL, token: str | None = "s3cret", channels: Any = None, **target: Any) -> JobSpec:
    hook: dict[str, Any] = {"url": url, **target}
    if token is not None:
        hook["auth"] = {"type": "bearer", "token": token}
    notify = {"channels": channels} if channels else None
    return a_spec(webhook=hook, notify=notify).normal()


def webhook(url: str, secret: str = STARS) -> dict[str, str]:
    return {"type": "webhook", "url": url, "secret": secret}


def slack(url: str = STARS) -> dict[str, str]:
    return {"type": "slack", "url": url}


def email() -> dict[str, Any]:
    return {"type": "email", "to": ["a@b.example"]}


def written(new: JobSpec, old: JobSpec | None = None) -> JobSpec:
    """Return what becomes of `new` written over `old`, with its credentials opened again, each at its own place."""
    before = seal_credentials(old, "J1", None, SEALER) if old is not None else None
    sealed = seal_credentials(new, "J1", before, SEALER)
    return map_credentials(sealed, lambda path, text: SEALER.open(text, f"default/J1/{path}"))


def token_of(kept: JobSpec) -> str:
    assert isinstance(kept.target, HttpTarget)
    assert isinstance(kept.target.auth, BearerAuth)
    return kept.target.auth.token


def secrets_of(kept: JobSpec) -> dict[str, str | None]:
    assert kept.notify is not None
    return {c.url: c.secret for c in kept.notify.channels if isinstance(c, NotifyWebhook)}


@pytest.mark.parametrize("url", [URL, "https://a.example/other?x=1", "https://A.example:443/", "https://a.example/#x"])
def test_stars_keep_what_goes_where_it_went(url: str) -> None:
    assert token_of(written(spec(url=url, token=STARS), spec())) == "s3cret"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/run",
        "http://a.example/run",
        "https://a.example:8443/run",
        "https://a.example.evil.example/run",
        "https://a.example@evil.example/run",
        "https://evil.example\\@a.example/run",
        "https://{{.JobName}}.a.example/run",
        "${secret:env:URL}",
    ],
)
def test_stars_take_no_credential_to_another_host(url: str) -> None:
    with pytest.raises(JobInvalid, match="goes where it went before") as refused:
        written(spec(url=url, token=STARS), spec())
    assert refused.value.facts["field"] == "target.auth.token"
    assert token_of(written(spec(url=url, token="new"), spec())) == "new"


def test_headers_and_signing_secrets_stay_behind_as_well() -> None:
    old = spec(token=None, headers={"Authorization": "x"}, signing_secret="whsec_c2VjcmV0")
    for more in ({"headers": {"Authorization": STARS}}, {"signing_secret": STARS}):
        with pytest.raises(JobInvalid):
            written(spec(url="https://evil.example/", token=None, **more), old)


def test_where_a_run_is_cancelled_gets_no_credential_and_may_change() -> None:
    old = spec(cancel_url="https://b.example/stop")
    assert token_of(written(spec(token=STARS, cancel_url="https://c.example/stop"), old)) == "s3cret"
    with pytest.raises(JobInvalid):
        written(spec(url="https://b.example/", token=STARS), old)


def test_unreadable_urls_are_equal_only_to_themselves() -> None:
    assert origin_of("${secret:env:A}") != origin_of("${secret:env:B}")
    assert origin_of("https://[::1") != origin_of("https://[::2")


def test_webhooks_keep_their_secrets_in_whatever_order_they_stand() -> None:
    first, second = webhook("https://a.example/1", "one"), webhook("https://b.example/2", "two")
    old = spec(channels=[first, email(), second])
    new = spec(token=STARS, channels=[webhook(second["url"]), webhook(first["url"])])
    assert secrets_of(written(new, old)) == {first["url"]: "one", second["url"]: "two"}


def test_a_webhook_that_moves_inside_its_host_keeps_its_secret() -> None:
    old = spec(channels=[webhook("https://a.example/1", "one"), webhook("https://a.example/2", "two")])
    new = spec(token=STARS, channels=[webhook("https://a.example/2"), webhook("https://a.example/3")])
    assert secrets_of(written(new, old)) == {"https://a.example/2": "two", "https://a.example/3": "one"}


def test_a_webhook_that_could_be_either_of_two_is_refused() -> None:
    old = spec(channels=[webhook("https://a.example/1", "one"), webhook("https://a.example/2", "two")])
    with pytest.raises(JobInvalid):
        written(spec(token=STARS, channels=[webhook("https://a.example/3")]), old)


def test_a_webhook_on_another_host_keeps_no_secret() -> None:
    old = spec(channels=[webhook("https://a.example/1", "one")])
    with pytest.raises(JobInvalid, match=r"no webhook of the job goes to https://evil\.example yet"):
        written(spec(token=STARS, channels=[webhook("https://evil.example/1")]), old)


def test_slack_channels_are_kept_all_or_none() -> None:
    old = spec(channels=[slack("https://s.example/A"), email(), slack("https://s.example/B")])
    kept = written(spec(token=STARS, channels=[slack(), slack(), slack("https://s.example/C")]), old)
    assert kept.notify is not None
    assert [c.url for c in kept.notify.channels if isinstance(c, NotifySlack)] == [
        f"https://s.example/{name}" for name in "ABC"
    ]
    with pytest.raises(JobInvalid, match="cannot be told"):
        written(spec(token=STARS, channels=[slack("https://s.example/C"), slack()]), old)


def test_a_credential_that_is_given_again_as_it_was_stays_as_it_is_sealed() -> None:
    old = seal_credentials(spec(token="one"), "J1", None, SEALER)
    assert seal_credentials(spec(token="one"), "J1", old, SEALER) == old
    assert seal_credentials(spec(token="two"), "J1", old, SEALER) != old


def test_a_credential_whose_key_is_lost_can_be_given_again() -> None:
    lost = seal_credentials(spec(token="one"), "J1", None, Sealer(bytes([1]) * 32, SeededChance(random.Random(2))))
    again = seal_credentials(spec(token="one"), "J1", lost, SEALER)
    assert map_credentials(again, lambda path, text: SEALER.open(text, f"default/J1/{path}")) == spec(token="one")


def test_stars_need_something_to_keep() -> None:
    with pytest.raises(JobInvalid, match="no credential to keep"):
        written(spec(token=STARS))
    with pytest.raises(JobInvalid, match="no credential to keep"):
        written(spec(token=STARS), spec(token=None))


def test_what_was_sealed_for_another_job_is_refused() -> None:
    sealed = seal_credentials(spec(), "J2", None, SEALER)
    with pytest.raises(SealBroken):
        seal_credentials(spec(token=token_of(sealed)), "J1", None, SEALER)
