"""What a receiver lets in, and what it does not."""

from __future__ import annotations

import base64
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from chronos.client.webhooks import RecentIds, WebhookNotTrusted, verify
from chronos.model.signing import new_key_pair, new_shared_secret, signatures, signing_keys
from chronos.timing.clock import SeededChance

NOW = datetime(2027, 1, 1, 9, tzinfo=UTC)
STAMP = int(NOW.timestamp())
BODY = b'{"amount": 100}'
CHANCE = SeededChance(random.Random(7))
SECRET, OLDER, STRANGE = (new_shared_secret(CHANCE) for _ in range(3))
PRIVATE, PUBLIC = new_key_pair(CHANCE)
_, STRANGE_PUBLIC = new_key_pair(CHANCE)


def request(
    secret: str = SECRET, *, body: bytes = BODY, stamp: int = STAMP, message_id: str = "occ_a"
) -> dict[str, str]:
    return {
        "Webhook-Id": message_id,
        "webhook-timestamp": str(stamp),
        "WEBHOOK-SIGNATURE": signatures(signing_keys(secret), message_id, stamp, body),
        "X-Chronos-Job-ID": "01JABC",
        "X-Chronos-Attempt": "2",
        "X-Chronos-Scheduled-Time": "2027-01-01T09:00:00Z",
        "Chronos-Fencing-Token": "1.7.4711",
    }


@pytest.mark.parametrize(("signing", "verifying"), [(SECRET, SECRET), (PRIVATE, PUBLIC)])
def test_a_signed_request_is_let_in_and_says_which_run_it_is(signing: str, verifying: str) -> None:
    run = verify(BODY, request(signing), verifying, now=NOW)
    assert (run.id, run.timestamp, run.body, run.job_id, run.attempt) == ("occ_a", NOW, BODY, "01JABC", 2)
    assert (run.scheduled_at, run.fencing_token) == ("2027-01-01T09:00:00Z", (1, 7, 4711))


def test_what_the_upstream_library_signs_is_let_in() -> None:
    value = Webhook(SECRET).sign("msg_1", NOW, BODY.decode())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(STAMP), "webhook-signature": value}
    run = verify(BODY.decode(), headers, SECRET, now=NOW)
    assert (run.id, run.attempt, run.fencing_token) == ("msg_1", 0, None)


@pytest.mark.parametrize(
    ("signing", "verifying"),
    [
        (f"{SECRET} {OLDER}", OLDER),
        (f"{SECRET} {OLDER}", [STRANGE, OLDER]),
        (OLDER, f"{SECRET} {OLDER}"),
        (f"{SECRET} {PRIVATE}", PUBLIC),
        (f"{PRIVATE} {SECRET}", [SECRET]),
        (PRIVATE, [SECRET, STRANGE_PUBLIC, PUBLIC]),
    ],
)
def test_while_secrets_change_one_that_fits_is_enough(signing: str, verifying: str | list[str]) -> None:
    assert verify(BODY, request(signing), verifying, now=NOW).id == "occ_a"


@pytest.mark.parametrize("verifying", [STRANGE, STRANGE_PUBLIC, PUBLIC, [STRANGE, PUBLIC]])
def test_a_request_signed_by_somebody_else_is_not(verifying: str | list[str]) -> None:
    with pytest.raises(WebhookNotTrusted, match="no signature fits"):
        verify(BODY, request(), verifying, now=NOW)


@pytest.mark.parametrize(("signing", "verifying"), [(SECRET, SECRET), (PRIVATE, PUBLIC)])
def test_any_changed_byte_is_noticed(signing: str, verifying: str) -> None:
    good = request(signing)
    for n in range(len(BODY)):
        with pytest.raises(WebhookNotTrusted):
            verify(BODY[:n] + bytes([BODY[n] ^ 1]) + BODY[n + 1 :], good, verifying, now=NOW)
    version, _, text = good["WEBHOOK-SIGNATURE"].partition(",")
    raw = base64.b64decode(text)
    for n in range(len(raw)):
        forged = f"{version}," + base64.b64encode(raw[:n] + bytes([raw[n] ^ 1]) + raw[n + 1 :]).decode()
        with pytest.raises(WebhookNotTrusted):
            verify(BODY, good | {"WEBHOOK-SIGNATURE": forged}, verifying, now=NOW)
    for changed in ({"Webhook-Id": "occ_b"}, {"webhook-timestamp": str(STAMP + 1)}):
        with pytest.raises(WebhookNotTrusted):
            verify(BODY, good | changed, verifying, now=NOW)


@given(st.text(max_size=200), st.text(max_size=20), st.text(max_size=60))
def test_nonsense_is_not_trusted_and_breaks_nothing(value: str, stamp: str, message_id: str) -> None:
    headers = {"webhook-id": message_id, "webhook-timestamp": stamp, "webhook-signature": value}
    with pytest.raises(WebhookNotTrusted):
        verify(BODY, headers, [SECRET, PUBLIC], now=NOW)
    headers["webhook-timestamp"] = str(STAMP)
    with pytest.raises(WebhookNotTrusted):
        verify(BODY, headers, [SECRET, PUBLIC], now=NOW)


@pytest.mark.parametrize("missing", ["Webhook-Id", "webhook-timestamp", "WEBHOOK-SIGNATURE"])
def test_a_request_without_all_three_headers_is_not_signed(missing: str) -> None:
    headers = {name: value for name, value in request().items() if name != missing}
    with pytest.raises(WebhookNotTrusted, match=f"no {missing.lower()}"):
        verify(BODY, headers, SECRET, now=NOW)


def test_what_was_signed_cannot_be_cut_apart_elsewhere() -> None:
    later = STAMP + 100_000_000
    good = request(body=f"{later}.pay".encode())
    moved = good | {"Webhook-Id": f"occ_a.{STAMP}", "webhook-timestamp": str(later)}
    with pytest.raises(WebhookNotTrusted, match="dot"):
        verify(b"pay", moved, SECRET, now=NOW + timedelta(seconds=100_000_000))


@pytest.mark.parametrize(("seconds", "let_in"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_what_is_older_or_newer_than_the_tolerance_may_be_a_replay(seconds: int, let_in: bool) -> None:
    now = NOW + timedelta(seconds=seconds)
    if let_in:
        assert verify(BODY, request(), SECRET, now=now).id == "occ_a"
        return
    with pytest.raises(WebhookNotTrusted, match="301 s"):
        verify(BODY, request(), SECRET, now=now)
    assert verify(BODY, request(), SECRET, now=now, tolerance=timedelta(hours=1)).id == "occ_a"


def test_without_a_time_of_its_own_the_receiver_goes_by_the_machine_s() -> None:
    stamp = int(datetime.now(UTC).timestamp())
    assert verify(BODY, request(stamp=stamp), SECRET).id == "occ_a"
    with pytest.raises(WebhookNotTrusted, match="old"):
        verify(BODY, request(stamp=stamp - 10_000), SECRET)


def test_a_million_signatures_are_not_looked_at() -> None:
    good = request()["WEBHOOK-SIGNATURE"]
    padded = "v1," + base64.b64encode(bytes(32)).decode()
    assert verify(BODY, request() | {"WEBHOOK-SIGNATURE": f"{padded} {good}"}, SECRET, now=NOW).id == "occ_a"
    with pytest.raises(WebhookNotTrusted):
        verify(BODY, request() | {"WEBHOOK-SIGNATURE": f"{padded} " * 1_000_000 + good}, SECRET, now=NOW)


@pytest.mark.parametrize("secrets", [[], "", "nonsense", PRIVATE, "whsec_", [SECRET, "whpk_x"]])
def test_a_wrong_secret_of_the_receiver_s_is_its_own_mistake(secrets: str | list[str]) -> None:
    with pytest.raises(ValueError, match=r"must|private key|no secret"):
        verify(BODY, request(), secrets, now=NOW)


@pytest.mark.parametrize("token", ["", "1.2", "1.2.3.4", "a.b.c", "1.2.-3", "1.2." + "9" * 30])
def test_a_token_that_is_none_is_none(token: str) -> None:
    assert verify(BODY, request() | {"Chronos-Fencing-Token": token}, SECRET, now=NOW).fencing_token is None


def test_recent_ids_are_remembered_up_to_a_bound() -> None:
    recent = RecentIds(size=3)
    assert [recent.is_new(name) for name in "abacdab"] == [True, True, False, True, True, False, True]
    recent.forget("a")
    assert recent.is_new("a")
